"""The requests of several threads for one file, which can all be ended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import httpx2

from gguf_server.models.listing import RemoteFile
from gguf_server.models.source import Location, Source
from gguf_server.models.transfer.answer import Answer, understand


class Over(Exception):
    """This thread's answer came after the end."""


class Requests:
    """``stop`` is set by the owner, before it hangs up."""

    def __init__(self, source: Source, file: RemoteFile, stop: threading.Event) -> None:
        self._source = source
        self._file = file
        self._stop = stop
        self._lock = threading.Lock()
        self._location: Location | None = None
        self._sockets: set[socket.socket] = set()
        self._asking: set[threading.Thread] = set()

    @property
    def host(self) -> str:
        """Where the file is, as people call it."""
        location = self._location
        return httpx2.URL(location.url).host if location else "the hub"

    def forget_location(self) -> None:
        """The hub is asked anew: what it named is not good any more."""
        self._location = None

    def is_asking(self, thread: threading.Thread) -> bool:
        """Does it wait for an answer? Then nothing wakes it."""
        return thread in self._asking

    def hang_up(self) -> None:
        """A thread that waits for bytes is woken by the end of its connection."""
        with self._lock:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def ask(self, wanted: range, etag: str) -> Iterator[tuple[httpx2.Response, Answer]]:
        """For these bytes of the file that ``etag`` names. Raises ``Over``."""
        with self._waiting_for_an_answer():
            location = self._located()
            headers = {
                **location.headers,
                "accept-encoding": "identity",
                "range": f"bytes={wanted.start}-{wanted.stop - 1}",
            }
            if etag and not etag.startswith("W/"):
                headers["if-range"] = etag
            client = self._source.client
            request = client.build_request("GET", location.url, headers=headers)
            response = client.send(request, stream=True, follow_redirects=False)
        with closing(response), self._interruptible(response):
            status, theirs = response.status_code, response.headers
            yield response, understand(status, theirs, wanted, self._file.size_bytes, etag)

    @contextmanager
    def _waiting_for_an_answer(self) -> Iterator[None]:
        me = threading.current_thread()
        with self._lock:
            self._asking.add(me)
        try:
            yield
        finally:
            with self._lock:
                self._asking.discard(me)

    @contextmanager
    def _interruptible(self, response: httpx2.Response) -> Iterator[None]:
        connection = response.extensions["network_stream"].get_extra_info("socket")
        with self._lock:
            self._sockets.add(connection)
        try:
            if self._stop.is_set():
                raise Over
            yield
        finally:
            with self._lock:
                self._sockets.discard(connection)

    def _located(self) -> Location:
        with self._lock:
            location = self._location
        if location is None:
            location = self._source.locate()
            with self._lock:
                self._location = location
        return location
