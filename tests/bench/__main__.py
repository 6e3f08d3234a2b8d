"""`python -m tests.bench`: measures this server, with --peers beside others, in one run.

Prints a page and, with --out, keeps it with its record. It asserts no time: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

from gguf_server.errors import ServerUnusable
from tests.bench import limit, machine, measuring, report, start
from tests.bench.cache import default_model
from tests.bench.measuring import PARTS, Found, Plan
from tests.bench.running import StartError
from tests.bench.servers import ours, peers


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    # Stopped or interrupted, the server under test still ends: it has a session of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        plan = _plan(options)
        about = machine.describe(arguments, plan.servers)
        found = asyncio.run(measuring.measure(plan))
    except (StartError, ServerUnusable, subprocess.CalledProcessError, FileNotFoundError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _publish(options.out, plan, about, found)
    return 0


def _publish(out: Path | None, plan: Plan, about: machine.Machine, found: Found) -> None:
    sections = [
        "# Beside the peers" if plan.peers else "# Benchmarks",
        report.header(about, plan.model.name, plan.num_threads, plan.repeat),
        report.targets_table(found.runs),
        limit.table(found.pairs) if found.pairs else "",
        start.table(found.starts) if found.starts else "",
        f"## Workloads\n\n{report.table(found.runs)}" if found.runs else "",
        report.steps_table(found.runs),
    ]
    page = "\n\n".join(filter(None, sections))
    print(page)
    if out:
        settings = {"model": plan.model.name, "threads": plan.num_threads, "repeat": plan.repeat}
        record = report.record(found.runs, about, settings)
        record |= {"limit": limit.record(found.pairs), "start": start.record(found.starts)}
        out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        out.with_suffix(".md").write_text(page + "\n")


def _plan(options: argparse.Namespace) -> Plan:
    if not options.model.is_file():
        raise FileNotFoundError(
            f"no model at {options.model}. `make run` fetches it, or --model FILE"
        )
    servers = [ours(tuple(options.serve_option)), *(peers() if options.peers else ())]
    wanted = options.server or [each.name for each in servers]
    servers = [each for each in servers if each.name in wanted]
    return Plan(options.model, options.threads, servers, options.only or PARTS, options.repeat)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--peers", action="store_true", help="also the servers that ours is compared with")
    add("--server", action="append", metavar="NAME", help="only this server, by its printed name")
    add("--only", action="append", choices=PARTS, help="only this part")
    add("--repeat", type=int, default=1, metavar="N", help="runs of each; medians are printed")
    add("--out", type=Path, metavar="NAME", help="write NAME.md and NAME.json")
    add("--model", type=Path, metavar="FILE", default=default_model())
    add("--threads", type=int, default=2, metavar="N", help="of every server")
    add("--serve-option", action="append", default=[], metavar="OPTION", help="added to ours")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
