"""The control plane as a whole, in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from grpclib.protocol import H2Protocol
from grpclib.server import Server

from tests.modal.plane.apps import Apps
from tests.modal.plane.calls import Calls
from tests.modal.plane.containers import Container, Containers, Launch
from tests.modal.plane.edge import Answer, ask
from tests.modal.plane.functions import Functions
from tests.modal.plane.images import Images
from tests.modal.plane.rpc import Ids, Record, service
from tests.modal.plane.secret_store import Secrets
from tests.modal.plane.sources import Sources
from tests.modal.plane.volumes import Volumes

SOCKET = "plane.sock"  # where containers find it, as Modal's own do
_HANG_SECONDS = 300.0

T = TypeVar("T")


class Listener(Server):
    """Knows its connections, so that it can end them."""

    def __init__(self, handlers: list[Any]) -> None:
        super().__init__(handlers)
        self._protocols: list[H2Protocol] = []

    def _protocol_factory(self) -> H2Protocol:
        self._protocols.append(super()._protocol_factory())
        return self._protocols[-1]

    async def end(self) -> None:
        self.close()
        for protocol in self._protocols:
            protocol.processor.close()
        await self.wait_closed()


class Plane:
    """On loopback for the client, on a socket in ``directory`` for containers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record = Record()
        ids = Ids()
        self.apps, self.images, self.volumes = Apps(ids), Images(ids), Volumes(ids)
        self.secrets, self.sources, self.functions = Secrets(ids), Sources(ids), Functions(ids)
        own = (self.apps, self.functions, self.sources, self.volumes, self.secrets)
        self.containers = Containers(ids, own, directory)
        self.calls = Calls(ids, self.containers.need)
        self.containers.ended = self.calls.fail
        self._parts = (*own, self.images, self.containers, self.calls)
        self._loop = asyncio.new_event_loop()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch_with(self, launch: Launch) -> None:
        self.containers.launch = launch

    def start(self, function: str) -> Container:
        """A container for a web function, as somebody's request would."""
        return self.containers.start(self.functions.id_of(function))

    def is_ready(self, function: str) -> bool:
        """To Modal, who then sends requests there."""
        return self.functions.id_of(function) in self.calls.asked_for_work

    def ask(
        self, function: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        function_id = self.functions.id_of(function)
        return self._in_loop(ask(self.calls, function_id, path, body, headers or {}))

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_HANG_SECONDS)

    @contextmanager
    def running(self) -> Iterator["Plane"]:
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        listeners: list[Listener] = []
        try:
            listeners += self._in_loop(self._listen())
            yield self
        finally:
            self.containers.stop()
            self._in_loop(_close(listeners))
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _listen(self) -> list[Listener]:
        self.containers.bind(self._loop)
        handlers = [service(self._parts, self.record)]
        for_client, for_containers = Listener(handlers), Listener(handlers)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
            await for_client.start(sock=free.dup())
        await for_containers.start(path=str(self.directory / SOCKET))
        (self.directory / SOCKET).chmod(0o666)  # whoever they run as
        return [for_client, for_containers]


async def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        await listener.end()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
