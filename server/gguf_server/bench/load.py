"""Drives one server with one workload; knows no particular server and starts none."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from gguf_server.bench.client import Failure, Outcome, Target, stream_chat
from gguf_server.bench.workloads import Prompt

NOT_ASKED = Failure("not asked", "an earlier turn of the conversation failed")


@dataclass(frozen=True, slots=True)
class Run:
    """All outcomes of one workload on one server, in the order of its prompts and their turns."""

    outcomes: tuple[Outcome, ...]
    wall_seconds: float
    client_cpu_seconds: float


async def drive(
    target: Target,
    prompts: Sequence[Prompt],
    concurrency: int,
    on_answer: Callable[[int], None] = lambda _: None,
) -> Run:
    """A conversation is one request at a time: its user waits for an answer before saying more."""
    return await load([_turns(target, prompt) for prompt in prompts], concurrency, on_answer)


async def load(
    users: Sequence[AsyncIterator[Outcome]],
    concurrency: int,
    on_answer: Callable[[int], None] = lambda _: None,
) -> Run:
    """Keeps ``concurrency`` users busy until all have been answered or have failed.

    ``on_answer`` is told how many requests have ended.
    """
    waiting = deque(enumerate(users))
    outcomes: dict[int, list[Outcome]] = {index: [] for index in range(len(users))}
    ended = count(1)

    async def work() -> None:
        while waiting:
            index, user = waiting.popleft()
            async for outcome in user:
                outcomes[index].append(outcome)
                on_answer(next(ended))

    cpu_start, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    wall_seconds, cpu_seconds = (time.perf_counter() - start, time.process_time() - cpu_start)
    return Run(tuple(chain.from_iterable(outcomes.values())), wall_seconds, cpu_seconds)


async def _turns(target: Target, prompt: Prompt) -> AsyncIterator[Outcome]:
    yield (outcome := await stream_chat(target, prompt))
    while prompt.next_messages:
        prompt = prompt.after(outcome.text)
        if outcome.failure is None:
            outcome = await stream_chat(target, prompt)
        else:
            outcome = replace(outcome, failure=NOT_ASKED)
        yield outcome
