"""Gives a server work at several numbers of streams, and takes apart where its steps went."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gguf_server.bench.load import Run, drive
from gguf_server.bench.probe import calibrate
from gguf_server.bench.stats import summarize
from gguf_server.bench.workloads import Ruler, Shape, Workload, prompts
from tests.bench.limit import steady_rate
from tests.bench.metrics import PREFIX, between
from tests.gpu.models import Load
from tests.gpu.serving import Serving
from tests.gpu.watch import WORK_PERIOD_SECONDS, watching

_CPU = f'{PREFIX}process_cpu_seconds_total{{process="engine"}}'


@dataclass(frozen=True, slots=True)
class Sampling:
    name: str
    options: Mapping[str, float]


GREEDY = Sampling("greedy", {"temperature": 0})
# What llama-server does where nobody says anything: every sampler of the usual chain has work.
USUAL = Sampling("usual", {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05})


class Incomplete(Exception):
    """Requests failed: their time is no measurement."""


async def work(server: Serving, load: Load, samplings: Sequence[Sampling]) -> dict[str, Any]:
    """All numbers of streams, one after the other, under watch."""
    ruler = await calibrate(server.target)
    ready_bytes = server.memory_bytes()
    await _run(server, load, load.num_slots, GREEDY, ruler)  # warms up
    endpoint, read = server.target.endpoint, server.memory_bytes
    async with watching(endpoint, read, WORK_PERIOD_SECONDS) as watch:
        runs = [
            await _run(server, load, count, sampling, ruler)
            for count in load.streams
            for sampling in samplings
        ]
    return {
        "before_bytes": server.before_bytes,
        "ready_bytes": ready_bytes,
        "peak_bytes": watch.peak_bytes,
        "runs": runs,
        "watch": watch.summary(),
    }


async def _run(
    server: Serving, load: Load, num_streams: int, sampling: Sampling, ruler: Ruler
) -> dict[str, Any]:
    workload = Workload(
        name=f"{num_streams}-{sampling.name}",
        sizes=f"{load.num_prompt_tokens} in / {load.num_output_tokens} out",
        concurrency=num_streams,
        shapes=(Shape(load.num_prompt_tokens, load.num_output_tokens),) * num_streams,
        headline="output_tokens_per_second",
    )
    before = await server.metrics()
    target = replace(server.target, sampling=sampling.options)
    run = await drive(target, prompts(workload, ruler), num_streams)
    after = await server.metrics()
    _check(run)
    steps = between(before, after)
    return {
        "streams": num_streams,
        "sampling": sampling.name,
        "summary": asdict(summarize(run)),
        "decode_tokens_per_second": steady_rate(run),
        "steps": asdict(steps) if steps else None,
        "engine_cpu_seconds": after.get(_CPU, 0.0) - before.get(_CPU, 0.0),
    }


def _check(run: Run) -> None:
    if failed := [outcome.failure for outcome in run.outcomes if outcome.failure]:
        raise Incomplete(f"{len(failed)} of {len(run.outcomes)} requests: {failed[0].message}")
    if short := sum(outcome.num_missing_tokens > 0 for outcome in run.outcomes):
        raise Incomplete(f"{short} of {len(run.outcomes)} answers are short")
