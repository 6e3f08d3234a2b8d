"""``gguf-server bench``: meets the server, runs the workloads, prints what was measured."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gguf_server.bench import probe, report
from gguf_server.bench.client import Target
from gguf_server.bench.load import Run, drive
from gguf_server.bench.report import Measured
from gguf_server.bench.stats import failures, summarize
from gguf_server.bench.workloads import PLAIN_RULER, STANDARD, WORKLOADS, Ruler, Workload, prompts
from gguf_server.endpoint import Endpoint
from gguf_server.errors import ServerUnusable, SettingsError
from gguf_server.settings.clients import BenchSettings
from gguf_server.settings.environment import wants_colors

_CLEAR_LINE = "\r\x1b[K"
_REFRESH_SECONDS = 1.0


def bench(settings: BenchSettings) -> None:
    """Raises ``ServerUnusable``, after the table, when a request failed."""
    workloads = chosen(settings)
    endpoint = Endpoint.parse(settings.url, settings.api_key)
    asyncio.run(_bench(settings, endpoint, workloads))


def chosen(settings: BenchSettings) -> list[Workload]:
    names = [each.name for each in WORKLOADS]
    if unknown := [name for name in settings.workload if name not in names]:
        msg = f"--workload: there is no {unknown[0]!r}; there are {', '.join(names)}"
        raise SettingsError(msg)
    return [
        each.scaled(settings.concurrency, settings.requests)
        for each in (WORKLOADS if settings.workload else STANDARD)
        if not settings.workload or each.name in settings.workload
    ]


async def _bench(settings: BenchSettings, endpoint: Endpoint, workloads: list[Workload]) -> None:
    model = settings.model or await probe.served_model(endpoint)
    target = await probe.understood(Target(endpoint, model, settings.timeout_seconds))
    ruler = await probe.calibrate(target)
    seed = settings.seed or secrets.token_hex(4)
    if not settings.json:
        print(_header(target, ruler, seed), flush=True)
    rows: list[Measured] = []
    try:
        for each in workloads:
            rows.append(await _measure(target, each, ruler, seed))  # noqa: PERF401
    finally:  # Ctrl-C does not lose what has been measured
        if settings.json:
            about = {"url": str(endpoint), "model": model, "seed": seed}
            print(json.dumps(about | {"workloads": report.record(rows)}, indent=1))
        elif rows:
            print(report.table(rows))
    if any(row.failures for row in rows):
        count = sum(sum(row.failures.values()) for row in rows)
        msg = "1 request failed" if count == 1 else f"{count} requests failed"
        raise ServerUnusable(msg)


async def _measure(target: Target, workload: Workload, ruler: Ruler, seed: str) -> Measured:
    questions = prompts(workload, ruler, seed)
    async with _progress(workload) as on_answer:
        run = await drive(target, questions, workload.concurrency, on_answer)
    return Measured(workload, summarize(run), failures(run), _example(run))


@asynccontextmanager
async def _progress(workload: Workload) -> AsyncIterator[Callable[[int], None]]:
    """One line that is written over, and nothing where nobody watches."""
    if not (sys.stderr.isatty() and wants_colors()):
        yield lambda _: None
        return
    start, num_done = time.monotonic(), 0

    def on_answer(count: int) -> None:
        nonlocal num_done
        num_done = count

    async def show() -> None:
        while True:
            count = f"{num_done} of {workload.num_requests}"
            line = f"{workload.name}: {count} requests, {time.monotonic() - start:.0f} s"
            print(f"{_CLEAR_LINE}{line}", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(_REFRESH_SECONDS)

    showing = asyncio.create_task(show())
    try:
        yield on_answer
    finally:
        showing.cancel()
        print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)


def _header(target: Target, ruler: Ruler, seed: str) -> str:
    lines = [f"{target.model} at {target.endpoint}; --seed {seed} repeats these prompts"]
    if ruler is PLAIN_RULER:
        lines.append(
            "! the server did not say how long prompts are; sizes are guesses, one token a word"
        )
    return "\n".join(lines)


def _example(run: Run) -> str:
    return next((each.failure.message for each in run.outcomes if each.failure), "")
