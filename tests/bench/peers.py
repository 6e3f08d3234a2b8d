"""The servers under test: how each is started, when it is ready, how it is stopped.

A server lives for one workload, so that no cache outlives it.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from gguf_server.bench.client import Target, get
from gguf_server.bench.http import BrokenAnswer
from gguf_server.bench.probe import served_model
from gguf_server.endpoint import OK, Endpoint

ROOT = Path(__file__).parents[2]
START_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 15.0

Kind = Literal["gguf-server", "llama-server", "llama_cpp.server"]


class StartError(Exception):
    """A server did not get ready; carries the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The same for every server: what a comparison must hold equal."""

    model: Path
    num_slots: int
    num_context_tokens: int = 2048  # per slot
    num_threads: int = 2
    num_clients: int = 1  # open at once: none may be refused
    embeddings: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    kind: Kind
    program: str
    options: tuple[str, ...] = ()

    @property
    def ready_path(self) -> str:
        paths = {"gguf-server": "/readyz", "llama-server": "/health"}
        return paths.get(self.kind, "/v1/models")

    @property
    def is_ours(self) -> bool:
        return self.kind == "gguf-server"

    def command(self, deployment: Deployment, port: int) -> list[str]:
        arguments = {
            "gguf-server": _our_arguments,
            "llama-server": _llama_server_arguments,
            "llama_cpp.server": _llama_cpp_server_arguments,
        }[self.kind](deployment, port)
        return [self.program, *arguments, *self.options]


def ours(options: tuple[str, ...] = ()) -> Server:
    return Server(
        "gguf-server", "gguf-server", str(Path(sys.executable).parent / "gguf-server"), options
    )


def peers() -> list[Server]:
    """llama-server in both layouts of its cache; llama-cpp-python's own server where installed."""
    program = str(_llama_server())
    servers = [
        Server("llama-server split", "llama-server", program),
        Server("llama-server unified", "llama-server", program, ("--kv-unified",)),
    ]
    if all(find_spec(name) for name in ("sse_starlette", "starlette_context", "pydantic_settings")):
        servers.append(Server("llama_cpp.server", "llama_cpp.server", sys.executable))
    return servers


def batched_bench() -> Path:
    """llama.cpp without a server around it, of the same build as llama-server."""
    return _llama_server().with_name("llama-batched-bench")


def _llama_server() -> Path:
    command = [ROOT / "scripts/build-peer"]
    build = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Path(build.stdout.decode().strip())


def _our_arguments(deployment: Deployment, port: int) -> list[str]:
    return [
        *("serve", "--host", "127.0.0.1", "--port", str(port)),
        *("--slots", str(deployment.num_slots)),
        *("--context", str(deployment.num_context_tokens)),
        *("--threads", str(deployment.num_threads)),
        *("--max-waiting", str(deployment.num_clients)),
        *("--flash-attention", "on"),
        str(deployment.model),
    ]


def _llama_server_arguments(deployment: Deployment, port: int) -> list[str]:
    return [
        *("--host", "127.0.0.1", "--port", str(port), "--model", str(deployment.model)),
        *("--parallel", str(deployment.num_slots)),
        *("--ctx-size", str(deployment.num_context_tokens * deployment.num_slots)),
        *("--threads", str(deployment.num_threads)),
        *("--flash-attn", "on", "--offline"),
    ]


def _llama_cpp_server_arguments(deployment: Deployment, port: int) -> list[str]:
    return [
        *("-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(deployment.model)),
        *("--n_ctx", str(deployment.num_context_tokens)),
        *("--n_threads", str(deployment.num_threads)),
        *("--flash_attn", "true"),
    ]


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
    session_id: int


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
        await _ready(program)
        model = await served_model(program.endpoint)
        yield Started(Target(program.endpoint, model), program.process.pid)


async def _ready(program: Launched) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and program.is_alive:
        try:
            status, _ = await get(program.endpoint, program.server.ready_path)
        except (OSError, BrokenAnswer):
            status = 0
        if status == OK:
            return
        await asyncio.sleep(0.1)
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
