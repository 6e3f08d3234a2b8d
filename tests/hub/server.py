"""The hub and the other host, listening."""

import contextlib
import os
import socket
import ssl
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Self

from tests.hub.content import File, Repository
from tests.hub.faults import Faults
from tests.hub.handler import Handler
from tests.hub.record import Record


class _Listener(ThreadingHTTPServer):
    """Knows its connections, so that it can end them."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: "Hub", origin: str) -> None:
        handler = type("Handler", (Handler,), {"site": site, "origin": origin})
        self._tls = site.tls
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        super().__init__(address, handler)
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients under test die in the middle of things."""

    def end(self) -> None:
        self.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()


class Hub:
    """A context manager. Tests fill it with repositories and plan its faults.

    ``bytes_per_second`` is the pace of each connection; 0 is as fast as it goes. ``tls`` is for
    both hosts. ``addresses`` are those of the hub and of the other host.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        addresses: tuple[str, str] = ("127.0.0.1", "127.0.0.2"),
    ) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.faults = Faults()
        self.record = Record()
        self.bytes_per_second = 0.0
        self.tls = tls
        self._closing = Event()
        self._addresses = addresses
        self._hub = _Listener((addresses[0], 0), self, "hub")
        self._cdn = _Listener((addresses[1], 0), self, "cdn")
        self._port = self._hub.server_address[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._hub.end()
        self._cdn.end()

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://{self._addresses[0]}:{self._port}"

    @property
    def cdn_url(self) -> str:
        return f"{self._scheme}://{self._addresses[1]}:{self._cdn.server_address[1]}"

    def repository(self, name: str, files: Mapping[str, Path | File], **about: Any) -> Repository:
        """A repository with one commit; ``about`` are fields of ``Repository``."""
        repository = self.repositories[name] = Repository(name, **about)
        self.tokens.update(repository.readers)
        repository.commit(
            {path: file if isinstance(file, File) else File(file) for path, file in files.items()}
        )
        return repository

    def bytes_sent(self, name: str = "") -> int:
        """Of files, to whoever asked; of those whose path ends so."""
        return self.record.bytes_sent(
            lambda each: (
                each.status in (200, 206)
                and not each.path.startswith("/api/")
                and each.path.endswith(name)
            )
        )

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """For a process that shall use this hub and nothing of ours."""
        mine = ("HF_", "HUGGING", "GGUF_", "MODEL_NAME", "http_proxy", "https_proxy", "all_proxy")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(mine) and not name.lower().startswith(mine)
        }
        ours = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return kept | ours | more

    def vanish(self) -> None:
        """Nobody listens any more."""
        self._hub.end()
        self._cdn.end()

    def return_(self) -> None:
        """After ``vanish``, at the same place; the other host at a new one."""
        self._hub = _Listener((self._addresses[0], self._port), self, "hub")
        self._cdn = _Listener((self._addresses[1], 0), self, "cdn")

    def wait_until_closed(self) -> None:
        self._closing.wait()
