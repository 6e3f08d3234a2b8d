"""Drives one server with one workload; knows no particular server and starts none."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gguf_server.bench.client import Outcome, Target, stream_chat
from gguf_server.bench.workloads import Prompt


@dataclass(frozen=True, slots=True)
class Run:
    """All outcomes of one workload on one server, in the order of its prompts."""

    outcomes: tuple[Outcome, ...]
    wall_seconds: float
    client_cpu_seconds: float


async def drive(
    target: Target,
    prompts: Sequence[Prompt],
    concurrency: int,
    on_answer: Callable[[int], None] = lambda _: None,
) -> Run:
    """Keeps ``concurrency`` requests open until all have been answered or have failed."""
    waiting = deque(enumerate(prompts))
    outcomes: dict[int, Outcome] = {}

    async def work() -> None:
        while waiting:
            index, prompt = waiting.popleft()
            outcomes[index] = await stream_chat(target, prompt)
            on_answer(len(outcomes))

    cpu_start, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    wall_seconds, cpu_seconds = (time.perf_counter() - start, time.process_time() - cpu_start)
    return Run(tuple(outcomes[index] for index in sorted(outcomes)), wall_seconds, cpu_seconds)
