"""`python -m tests.bench`: measures this server, with --peers beside llama.cpp's, in one run.

Prints a table and, with --json, writes a record. It asserts no time: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gguf_server.bench.client import get
from gguf_server.bench.load import Run, drive
from gguf_server.bench.probe import calibrate, understood
from gguf_server.bench.workloads import PLAIN_RULER, WORKLOADS, Ruler, Workload, prompts
from gguf_server.endpoint import OK, Endpoint
from gguf_server.errors import ServerUnusable
from tests.bench import cpu, limit, machine, metrics, report
from tests.bench.comparison import summarize_beside
from tests.bench.limit import Pair
from tests.bench.peers import (
    Deployment,
    Server,
    StartError,
    batched_bench,
    ours,
    peers,
    running,
)
from tests.bench.report import Measured

DEFAULT_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, slots=True)
class Plan:
    model: Path
    num_threads: int
    servers: list[Server]
    workloads: list[Workload]
    repeat: int

    def deployment(self, workload: Workload) -> Deployment:
        return Deployment(self.model, workload.concurrency, num_threads=self.num_threads)


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    # Stopped or interrupted, the server under test still ends: it has a session of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        plan = _plan(options)
        about = machine.describe(arguments, plan.servers)
        runs = asyncio.run(measure(plan))
        pairs = asyncio.run(measure_limit(plan)) if options.peers else []
    except (StartError, ServerUnusable, subprocess.CalledProcessError, FileNotFoundError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _publish(options, plan, about, runs, pairs)
    return 0


def _publish(
    options: argparse.Namespace,
    plan: Plan,
    about: machine.Machine,
    runs: list[Measured],
    pairs: list[Pair],
) -> None:
    print(report.header(about, plan.model.name, plan.num_threads, plan.repeat), end="\n\n")
    print(report.table(runs), end="\n\n")
    print(report.steps_table(runs))
    if pairs:
        print(f"\n{limit.table(pairs)}")
    if options.json:
        settings = {"model": plan.model.name, "threads": plan.num_threads, "repeat": plan.repeat}
        found = report.record(runs, about, settings) | {"limit": limit.record(pairs)}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


async def measure(plan: Plan) -> list[Measured]:
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


async def measure_limit(plan: Plan) -> list[Pair]:
    """llama.cpp alone and our server take turns, too."""
    server = next((each for each in plan.servers if each.is_ours), None)
    if server is None:
        return []
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
        before = cpu.read(started.session_id)
        run = await drive(started.target, prompts(workload, ruler), workload.concurrency)
        after = cpu.read(started.session_id)
        counted = await _steps(started.target.endpoint) if server.is_ours else None
    spent = after - before if before and after else None
    return Measured(workload, server, summarize_beside(run, spent), counted, _errors(run))


def _errors(run: Run) -> tuple[str, ...]:
    failed = [each.failure.message for each in run.outcomes if each.failure]
    missing = [each.num_missing_tokens for each in run.outcomes if each.num_missing_tokens]
    return (*failed, *(f"an answer had {count} tokens less than asked for" for count in missing))


async def _steps(endpoint: Endpoint) -> metrics.Steps | None:
    status, exposition = await get(endpoint, "/metrics")
    return metrics.steps(exposition.decode()) if status == OK else None


def _plan(options: argparse.Namespace) -> Plan:
    if not options.model.is_file():
        raise FileNotFoundError(
            f"no model at {options.model}. `make run` fetches it, or --model FILE"
        )
    servers = [] if options.without_ours else [ours(tuple(options.serve_option))]
    if options.peers:
        servers += peers()
    chosen = [each for each in WORKLOADS if each.name in (options.only or [each.name])]
    return Plan(options.model, options.threads, servers, chosen, options.repeat)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--peers", action="store_true", help="also llama-server, built by scripts/build-peer")
    add("--without-ours", action="store_true", help="only the peers")
    add("--only", action="append", choices=[each.name for each in WORKLOADS], help="this workload")
    add("--repeat", type=int, default=1, metavar="N", help="runs of each; medians are printed")
    add("--json", type=Path, metavar="FILE", help="write the record there")
    add("--model", type=Path, metavar="FILE", default=_cache() / "models" / DEFAULT_MODEL)
    add("--threads", type=int, default=2, metavar="N", help="of every server")
    add("--serve-option", action="append", default=[], metavar="OPTION", help="added to ours")
    return parser


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "gguf-server"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
