"""`python -m tests.gpu`: measures the server on this machine's GPU, a stage or all of them.

What was measured is kept after each piece, and a later call goes on there. Ends with 75 when time
was up before all was measured, with 1 when something failed.
"""

import argparse
import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from gguf_server import __version__
from gguf_server.errors import KitError
from gguf_server.settings.serve import Settings
from tests.bench.running import StartError
from tests.bench.servers import ROOT
from tests.gpu.card import NoCard, cpu_name, find, nvcc_version
from tests.gpu.cells import STAGES, Cell, Place, cells
from tests.gpu.child import ChildFailed
from tests.gpu.models import SMALL_LOAD, SMALL_MODELS, TRUE_LOAD, TRUE_MODELS
from tests.gpu.record import Record, Result
from tests.gpu.report import page
from tests.gpu.work import Incomplete

AGAIN = 75  # EX_TEMPFAIL: call once more
_FAILURES = (ChildFailed, Incomplete, KitError, OSError, StartError, TimeoutError)


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    # Stopped or interrupted, the servers under test still end: they have sessions of their own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        card = find(options.device)
    except NoCard as exc:
        print(f"gpu-check: {exc}", file=sys.stderr)
        return 1
    record = Record.open(options.out, card, options.day)
    record.content["about"] = _about(options)
    models, load = (
        (TRUE_MODELS, TRUE_LOAD) if options.shape == "true" else (SMALL_MODELS, SMALL_LOAD)
    )
    place = Place(card, load, options.models, options.vocabulary)
    wanted = [each for each in cells(place, models) if _wanted(each, options)]
    missing = [each for each in wanted if options.again or not record.has(each.key)]
    try:
        left = asyncio.run(measure(record, missing, options.seconds))
    except KeyboardInterrupt:
        return 130
    record.path.with_suffix(".md").write_text(page(record.content))
    print(f"gpu-check: {record.path.with_suffix('.md')}", file=sys.stderr)
    if left:
        print(f"gpu-check: time is up; call again for {', '.join(left)}", file=sys.stderr)
        return AGAIN
    return int(any(not record.has(each.key) for each in wanted))


async def measure(record: Record, missing: Sequence[Cell], seconds: float) -> list[str]:
    """Returns the names of those that there was no time for."""
    end = time.monotonic() + seconds
    left = []
    for cell in missing:
        remaining = end - time.monotonic()
        if remaining < cell.seconds:
            left.append(cell.key)
            continue
        print(f"gpu-check: {cell.key}, {remaining:.0f} s left", file=sys.stderr, flush=True)
        await _measure_one(record, cell, remaining)
    return left


async def _measure_one(record: Record, cell: Cell, limit_seconds: float) -> None:
    begin = time.monotonic()
    try:
        async with asyncio.timeout(limit_seconds):
            result = await cell.measure()
    except _FAILURES as exc:
        result = {"failed": str(exc) or f"no end within {limit_seconds:.0f} s"}
        print(f"gpu-check: {cell.key}: {result['failed']}", file=sys.stderr, flush=True)
    record.add(cell.key, time.monotonic() - begin, result)


def _wanted(cell: Cell, options: argparse.Namespace) -> bool:
    is_stage = cell.stage in (options.stage or STAGES)
    return is_stage and any(cell.name.startswith(each) for each in options.model or [""])


def _about(options: argparse.Namespace) -> Result:
    return {
        "CPU": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": platform.release(),
        "nvcc": nvcc_version(),
        "commit": options.commit or _commit(),
        "gguf-server": __version__,
        "llama-cpp-python": version("llama-cpp-python"),
        "models on": str(options.models),
        "command": f"scripts/gpu-check --device {options.device} --shape {options.shape}",
    }


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    add = parser.add_argument
    today = datetime.now(UTC).date().isoformat()
    add("--device", choices=("gpu", "cpu"), default="gpu", help="cpu rehearses")
    add("--shape", choices=("true", "small"), default="true", help="of the models; small rehearses")
    add("--stage", action="append", choices=STAGES, help="this one; may be repeated")
    add("--model", action="append", metavar="NAME", help="these, by the beginning of their names")
    add("--again", action="store_true", help="also what was measured already")
    add("--seconds", type=float, default=540.0, metavar="S", help="the call may take")
    add(
        "--models",
        type=Path,
        default=Path("/tmp/gguf-gpu-check"),
        metavar="DIR",
        help="room: 22 GB",
    )
    add("--out", type=Path, default=ROOT / "docs/benchmarks/gpu", metavar="DIR", help="of records")
    add("--vocabulary", type=Path, default=Settings().source, metavar="FILE", help="a GGUF file")
    add("--commit", default="", help="where git cannot be asked")
    add("--day", default=today, metavar="DATE", help="of the record that is gone on with")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
