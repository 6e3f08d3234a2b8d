"""How a server under test is started, when it is ready, how it is stopped.

A server lives for one workload, so that no cache outlives it.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from gguf_server.bench.client import Target, get
from gguf_server.bench.http import BrokenAnswer
from gguf_server.bench.probe import served_model
from gguf_server.endpoint import OK, Endpoint
from tests.bench.servers import Deployment, Server

START_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 15.0


class StartError(Exception):
    """A server did not get ready; carries the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A program on its way; ``began_at`` is the perf_counter just before it was started."""

    server: Server
    endpoint: Endpoint
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    began_at: float

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def failure(self) -> StartError:
        self.log.seek(0)
        tail = self.log.read().decode(errors="replace").splitlines()[-15:]
        code = self.process.poll()
        fate = "is still loading" if code is None else f"ended with code {code}"
        return StartError("\n".join([f"{self.server.name} {fate}; the last it printed:", *tail]))


@dataclass(frozen=True, slots=True)
class Started:
    target: Target
    pid: int


@contextmanager
def launched(server: Server, deployment: Deployment) -> Iterator[Launched]:
    """Starts a server in a session of its own, stops it with all its children."""
    with tempfile.TemporaryFile() as log:
        endpoint = Endpoint("127.0.0.1", free_port())
        command = server.command(deployment, endpoint.port)
        began_at = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield Launched(server, endpoint, process, log, began_at)
        finally:
            stop(process)


@asynccontextmanager
async def running(server: Server, deployment: Deployment) -> AsyncIterator[Started]:
    """Launches a server and yields it ready."""
    with launched(server, deployment) as program:
        await ready(program)
        model = await served_model(program.endpoint)
        target = server.target(program.endpoint, model, deployment)
        yield Started(target, program.process.pid)


async def ready(program: Launched, poll_seconds: float = 0.1) -> tuple[float, float]:
    """When the first answer of any status came, and when the first that says ready."""
    answer_at = None
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and program.is_alive:
        try:
            status, _ = await get(program.endpoint, program.server.ready_path)
        except (OSError, BrokenAnswer):
            await asyncio.sleep(poll_seconds)
            continue
        answer_at = answer_at or time.perf_counter()
        if status == OK:
            return answer_at, time.perf_counter()
        await asyncio.sleep(poll_seconds)
    raise program.failure()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_SECONDS)
    finally:  # of a second Ctrl-C, too
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
