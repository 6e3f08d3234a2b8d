"""A server under watch from before its first breath to its end."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gguf_server.bench.client import Target, get
from gguf_server.bench.probe import served_model
from gguf_server.endpoint import Endpoint
from tests.bench.metrics import PREFIX, samples
from tests.bench.running import StartError, free_port, stop
from tests.gpu.card import Card, memory
from tests.gpu.watch import LOAD_PERIOD_SECONDS, Watch, watching

_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Serving:
    """One that is ready. ``load`` is what was seen until then, ``before_bytes`` what was in use
    of the card before it."""

    target: Target
    process: subprocess.Popen[bytes]
    card: Card
    load: Watch
    ready_seconds: float
    before_bytes: int

    def memory_bytes(self) -> int:
        return memory(self.card, lambda: self.process.pid)()

    async def metrics(self) -> dict[str, float]:
        _, exposition = await get(self.target.endpoint, "/metrics")
        return samples(exposition.decode())

    async def load_seconds(self) -> dict[str, float]:
        head = f'{PREFIX}load_seconds{{stage="'
        found = (await self.metrics()).items()
        return {key.removeprefix(head)[:-2]: each for key, each in found if key.startswith(head)}


def command(model: Path, card: Card, options: Mapping[str, Any], port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "gguf_server", "serve", "--host", "127.0.0.1"),
        *("--port", str(port), "--device", card.device),
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        str(model),
    ]


@asynccontextmanager
async def serving(
    model: Path, card: Card, options: Mapping[str, Any], limit_seconds: float
) -> AsyncIterator[Serving]:
    """Raises ``StartError`` with its last lines where it does not get ready in time."""
    port = free_port()
    endpoint = Endpoint("127.0.0.1", port)
    with tempfile.TemporaryFile() as log:
        session: list[int] = []
        read = memory(card, lambda: session[0] if session else None)
        before_bytes = read()
        process = subprocess.Popen(  # noqa: ASYNC220
            command(model, card, options, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        session.append(process.pid)
        try:
            async with watching(endpoint, read, LOAD_PERIOD_SECONDS) as watch:
                seconds = await _ready(watch, process, log, limit_seconds)
            target = Target(endpoint, await served_model(endpoint), timeout_seconds=300.0)
            yield Serving(target, process, card, watch, seconds, before_bytes)
        finally:
            stop(process)


async def _ready(
    watch: Watch, process: subprocess.Popen[bytes], log: IO[bytes], limit_seconds: float
) -> float:
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline and process.poll() is None:
        if (seconds := watch.ready_after()) is not None:
            return seconds
        await asyncio.sleep(LOAD_PERIOD_SECONDS)
    log.seek(0)
    tail = log.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    code = process.poll()
    fate = "is still loading" if code is None else f"ended with code {code}"
    raise StartError("\n".join([f"gguf-server {fate}; the last it printed:", *tail]))


def forget(path: Path) -> None:
    """Drops a file from the page cache: the next start reads it from the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
