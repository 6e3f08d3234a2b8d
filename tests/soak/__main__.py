"""`python -m tests.soak`: soaks the server and prints a table; fails if anything is left."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.server.engine.llama import tiny_models
from tests.soak.report import table
from tests.soak.soak import Soaking, new_seed, soak


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    # Interrupted, it still ends the server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"soak: {options.seconds:g} s of load, --seed {options.seed}", file=sys.stderr)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        directory = Path(name)
        model = directory / "tiny.gguf"
        tiny_models.write_mixture(model)
        soaking = Soaking(model, directory, options.seconds, options.seed, options.clients)
        try:
            lives = asyncio.run(soak(soaking))
        except KeyboardInterrupt:
            return 130
    print(table(lives))
    refusals = sum((life.tally.refusals for life in lives), start=type(lives[0].tally.refusals)())
    print("\nErrors by code:", ", ".join(f"{code} {n:,}" for code, n in refusals.most_common()))
    problems = [problem for life in lives for problem in life.problems()]
    for problem in problems[:20]:
        print(f"soak: {problem}", file=sys.stderr)
    took = time.monotonic() - began
    print(f"soak: {len(problems)} problems, {took:.0f} s, --seed {options.seed}", file=sys.stderr)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200.0, help="time under load")
    parser.add_argument("--seed", type=int, default=new_seed(), help="what clients and chaos do")
    parser.add_argument("--clients", type=int, default=24, help="clients at once")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
