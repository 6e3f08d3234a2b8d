"""Watches a server from outside while it loads and while it works: its probes, its memory."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from gguf_server.bench.client import get
from gguf_server.bench.http import BrokenAnswer
from gguf_server.bench.stats import percentile
from gguf_server.endpoint import OK, Endpoint

PROBES = ("/livez", "/readyz", "/startupz", "/health")
# While it loads; while it works a fast watch would take part in what is measured.
LOAD_PERIOD_SECONDS, WORK_PERIOD_SECONDS = 0.02, 0.25
# Kubernetes gives a probe one second, unless it is told otherwise.
ANSWER_LIMIT_SECONDS = 1.0
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer of one probe; ``status`` 0 is none."""

    path: str
    at: float
    seconds: float
    status: int
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Watch:
    """Times are seconds since it began."""

    seen: list[Seen] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def peak_bytes(self) -> int:
        return max(self.memory, default=0)

    def ready_after(self) -> float | None:
        return next((each.at for each in self.of("/readyz") if each.status == OK), None)

    def of(self, path: str) -> list[Seen]:
        return [each for each in self.seen if each.path == path]

    def summary(self) -> dict[str, Any]:
        return {
            "probes": {path: _summary(self.of(path)) for path in PROBES},
            "violations": violations(self.seen),
            "peak_bytes": self.peak_bytes,
        }


def violations(seen: Sequence[Seen]) -> list[str]:
    """What no probe may do, from the first answer on: one line each, the first of its kind."""
    found = []
    for path in PROBES:
        answers = [each for each in seen if each.path == path]
        heard = next((n for n, each in enumerate(answers) if each.status), len(answers))
        found += _violations(path, answers[heard:])
    return found + _steps_back(seen)


def _violations(path: str, answers: Sequence[Seen]) -> list[str]:
    found = []
    allowed = {OK} if path == "/livez" else {OK, _UNAVAILABLE}
    if wrong := [each for each in answers if each.status not in allowed]:
        found.append(f"{path} answered {wrong[0].status or 'nothing'} after {wrong[0].at:.1f} s")
    if slow := [each for each in answers if each.seconds > ANSWER_LIMIT_SECONDS]:
        found.append(f"{path} took {max(each.seconds for each in slow):.1f} s")
    good = next((n for n, each in enumerate(answers) if each.status == OK), len(answers))
    if path != "/livez" and (lost := [e for e in answers[good:] if e.status == _UNAVAILABLE]):
        found.append(f"{path} went back to 503 after {lost[0].at:.1f} s")
    return found


def _steps_back(seen: Sequence[Seen]) -> list[str]:
    """Progress that is taken back."""
    told = [each for each in seen if each.path == "/startupz" and "percent" in each.body]
    return [
        f"/startupz went from {one.body['percent']} to {other.body['percent']} % of {stage}"
        for one, other in pairwise(told)
        if (stage := one.body.get("stage")) == other.body.get("stage")
        and other.body["percent"] < one.body["percent"]
    ][:1]


def _summary(answers: Sequence[Seen]) -> dict[str, Any]:
    heard = [each for each in answers if each.status]
    seconds = [each.seconds for each in heard]
    return {
        "answers": len(heard),
        "first_answer_seconds": heard[0].at if heard else None,
        "first_ok_seconds": next((each.at for each in heard if each.status == OK), None),
        "p99_seconds": percentile(seconds, 99),
        "max_seconds": max(seconds, default=None),
    }


@asynccontextmanager
async def watching(
    endpoint: Endpoint, read_memory: Callable[[], int], period_seconds: float
) -> AsyncIterator[Watch]:
    """Each probe has a task of its own, so that a slow one delays no other."""
    watch, start = Watch(), time.perf_counter()

    async def again(step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await step()
            await asyncio.sleep(period_seconds)

    async def read() -> None:
        watch.memory.append(await asyncio.to_thread(read_memory))

    tasks = [
        asyncio.create_task(again(partial(_ask, endpoint, path, start, watch))) for path in PROBES
    ]
    tasks.append(asyncio.create_task(again(read)))
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    if failed := [each for each in ends if isinstance(each, Exception)]:
        raise failed[0]


async def _ask(endpoint: Endpoint, path: str, start: float, watch: Watch) -> None:
    asked = time.perf_counter()
    try:
        status, body = await get(endpoint, path)
    except (OSError, BrokenAnswer):  # before it listens
        status, body = 0, b""
    now = time.perf_counter()
    watch.seen.append(Seen(path, now - start, now - asked, status, _object(body)))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
