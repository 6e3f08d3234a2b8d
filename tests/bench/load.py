"""Drives one server with one workload; knows no particular server and starts none."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.client import ClientError, Endpoint, Outcome, stream_chat
from tests.bench.workloads import Message, Prompt, Ruler, text

REQUEST_TIMEOUT_SECONDS = 600.0
RULER_WORDS = (20, 120)


@dataclass(frozen=True, slots=True)
class Run:
    """All outcomes of one workload on one server, in the order of its prompts."""

    outcomes: tuple[Outcome, ...]
    wall_seconds: float
    client_cpu_seconds: float


async def drive(endpoint: Endpoint, prompts: Sequence[Prompt], concurrency: int) -> Run:
    """Keeps `concurrency` requests open until all have been answered or have failed."""
    waiting = deque(enumerate(prompts))
    outcomes: dict[int, Outcome] = {}

    async def work() -> None:
        while waiting:
            index, prompt = waiting.popleft()
            outcomes[index] = await stream_chat(
                endpoint, prompt, timeout_seconds=REQUEST_TIMEOUT_SECONDS
            )

    cpu_start, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    wall_seconds, cpu_seconds = (time.perf_counter() - start, time.process_time() - cpu_start)
    return Run(tuple(outcomes[index] for index in sorted(outcomes)), wall_seconds, cpu_seconds)


async def calibrate(endpoint: Endpoint) -> Ruler:
    """Asks a server that will not be measured how long three prompts are."""
    short, long = RULER_WORDS
    user = Message("user", text("ruler", short))
    probes = (
        (user,),
        (Message("user", text("ruler", long)),),
        (Message("system", text("ruler/system", short)), user),
    )
    counts = [await _num_prompt_tokens(endpoint, probe) for probe in probes]
    return Ruler.fit(RULER_WORDS, (counts[0], counts[1]), counts[2])


async def _num_prompt_tokens(endpoint: Endpoint, messages: tuple[Message, ...]) -> int:
    prompt = Prompt(messages, max_tokens=1)
    outcome = await stream_chat(endpoint, prompt, timeout_seconds=REQUEST_TIMEOUT_SECONDS)
    if outcome.error or not outcome.num_prompt_tokens:
        reason = outcome.error or "its answers carry no usage"
        raise ClientError(f"cannot measure the length of a prompt: {reason}")
    return outcome.num_prompt_tokens
