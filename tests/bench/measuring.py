"""Starts the servers, gives each its work, and collects what came of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf_server.bench.client import get
from gguf_server.bench.load import Run, drive
from gguf_server.bench.probe import calibrate, understood
from gguf_server.bench.workloads import PLAIN_RULER, STANDARD, WORKLOADS, Ruler, Workload, prompts
from gguf_server.endpoint import OK, Endpoint
from gguf_server.errors import ServerUnusable
from tests.bench import cpu, embedding, limit, memory, metrics, start
from tests.bench.comparison import summarize_beside
from tests.bench.embedding import EMBEDDINGS, TEXTS_A_REQUEST
from tests.bench.limit import Pair
from tests.bench.report import Measured
from tests.bench.running import Started, running
from tests.bench.servers import Deployment, Server, batched_bench
from tests.bench.start import Start

ALL = (*WORKLOADS, EMBEDDINGS)
PARTS = [*(each.name for each in ALL), "limit", "start"]


@dataclass(frozen=True, slots=True)
class Plan:
    model: Path
    num_threads: int
    servers: list[Server]
    parts: Sequence[str]
    repeat: int

    @property
    def workloads(self) -> list[Workload]:
        return [each for each in ALL if each.name in self.parts]

    @property
    def ours(self) -> Server | None:
        return next((each for each in self.servers if each.is_ours), None)

    @property
    def peers(self) -> list[Server]:
        return [each for each in self.servers if not each.is_ours]

    def deployment(self, workload: Workload) -> Deployment:
        return Deployment(
            self.model,
            workload.num_slots or workload.concurrency,
            num_waiting=_num_waiting(workload),
            num_threads=self.num_threads,
            embeddings=workload is EMBEDDINGS,
        )


def _num_waiting(workload: Workload) -> int:
    """In our server's queue, at most: each text of a list is in it."""
    texts = TEXTS_A_REQUEST if workload is EMBEDDINGS else 1
    return workload.concurrency * texts


@dataclass(frozen=True, slots=True)
class Found:
    """All single runs, in the order in which they were made."""

    starts: list[Start]
    runs: list[Measured]
    pairs: list[Pair]


async def measure(plan: Plan) -> Found:
    """llama.cpp alone only where there are peers: it is built with them."""
    starts = await _measure_starts(plan) if "start" in plan.parts else []
    runs = await _measure_workloads(plan) if plan.workloads else []
    has_limit = plan.peers and "limit" in plan.parts
    pairs = await _measure_limit(plan, plan.ours) if plan.ours and has_limit else []
    return Found(starts, runs, pairs)


async def _measure_starts(plan: Plan) -> list[Start]:
    """The layout of llama-server's cache makes no difference to its start."""
    kinds = [each.kind for each in plan.servers]
    servers = [each for n, each in enumerate(plan.servers) if each.kind not in kinds[:n]]
    print("bench: start to ready", file=sys.stderr)
    return await start.measure(servers, plan.deployment(STANDARD[1]), max(3, plan.repeat))


async def _measure_workloads(plan: Plan) -> list[Measured]:
    """Servers take turns, and the order turns round with each repeat: drift favours none."""
    async with running(plan.servers[0], plan.deployment(WORKLOADS[0])) as started:
        ruler = await calibrate(await understood(started.target))
    if ruler is PLAIN_RULER:
        raise ServerUnusable(f"{plan.servers[0].name} does not count the tokens of a prompt")
    runs = []
    for workload in plan.workloads:
        for turn in range(plan.repeat):
            for server in plan.servers[:: -1 if turn % 2 else 1]:
                print(f"bench: {workload.name}, {server.name}, run {turn + 1}", file=sys.stderr)
                runs.append(await _measure_one(server, workload, plan.deployment(workload), ruler))
    return runs


async def _measure_limit(plan: Plan, server: Server) -> list[Pair]:
    """llama.cpp alone and our server take turns, too."""
    bench = batched_bench()
    pairs = []
    for num_streams in limit.STREAMS:
        workload = limit.workload(num_streams)
        deployment = plan.deployment(workload)
        for turn in range(plan.repeat):
            print(f"bench: {workload.name}, run {turn + 1}", file=sys.stderr)
            alone = await asyncio.to_thread(limit.alone, bench, deployment)
            async with running(server, deployment) as started:
                ruler = await calibrate(started.target)
                run = await drive(started.target, prompts(workload, ruler), num_streams)
            pairs.append(Pair(num_streams, alone, limit.steady_rate(run)))
    return pairs


async def _measure_one(
    server: Server, workload: Workload, deployment: Deployment, ruler: Ruler
) -> Measured:
    async with running(server, deployment) as started:
        before = cpu.read(started.pid)
        run = await _drive(started, workload, ruler)
        after = cpu.read(started.pid)
        peak = memory.peak_bytes(started.pid)
        counted = await _steps(started.target.endpoint) if server.is_ours else None
    spent = after - before if before and after else None
    return Measured(workload, server, summarize_beside(run, spent, peak), counted, _errors(run))


async def _drive(started: Started, workload: Workload, ruler: Ruler) -> Run:
    if workload is EMBEDDINGS:
        return await embedding.drive(started.target)
    return await drive(started.target, prompts(workload, ruler), workload.concurrency)


def _errors(run: Run) -> tuple[str, ...]:
    failed = [each.failure.message for each in run.outcomes if each.failure]
    missing = [each.num_missing_tokens for each in run.outcomes if each.num_missing_tokens]
    return (*failed, *(f"an answer had {count} tokens less than asked for" for count in missing))


async def _steps(endpoint: Endpoint) -> metrics.Steps | None:
    status, exposition = await get(endpoint, "/metrics")
    return metrics.steps(exposition.decode()) if status == OK else None
