"""`scripts/bench generator`: llama-benchy, which is not ours, loads our server, with --peers also
llama-server. Offline: the tokenizer comes out of the model's file, the book it reads is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gguf_server.bench.client import Target
from gguf_server.bench.workloads import text
from gguf_server.errors import ServerUnusable
from tests.bench.cache import default_model
from tests.bench.running import StartError, running
from tests.bench.servers import Deployment, Server, ours, peers, printed
from tests.bench.vocabulary import tokenizer

NUM_BOOK_WORDS = 50_000
STREAMS = (1, 8)
LOAD = [
    *("--pp", "512", "--tg", "64", "--runs", "3", "--no-cache"),
    # Its own way to exact lengths asks for a minimum of tokens, too; and it would ask for their
    # numbers. We know neither, and say so.
    *("--extra-body", "ignore_eos=true,return_token_ids=false"),
    # A small model's answers prove nothing, and there is no network to subtract.
    *("--skip-coherence", "--latency-mode", "none", "--exit-on-first-fail"),
]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the generator finds: its home, so that it leaves nothing in ours, and the book."""

    home: Path
    book_url: str

    def command(self, python: str, server: Server, target: Target) -> list[str]:
        return [
            *(python, "-m", "llama_benchy", "--base-url", f"{target.endpoint}/v1"),
            *("--model", server.name, "--served-model-name", target.model),
            *("--tokenizer", str(self.home / "tokenizer.json"), "--book-url", self.book_url),
            *("--concurrency", *map(str, STREAMS), *LOAD),
            *("--save-result", str(self.home / "table.md")),
        ]


@contextmanager
def desk(model: Path) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="gguf-bench-") as home:
        Path(home, "tokenizer.json").write_text(json.dumps(tokenizer(model)))
        Path(home, "book.txt").write_text(text("book", NUM_BOOK_WORDS))
        library = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=home))
        threading.Thread(target=library.serve_forever, daemon=True).start()
        try:
            yield Desk(Path(home), f"http://127.0.0.1:{library.server_port}/book.txt")
        finally:
            library.shutdown()
            library.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


async def measure(python: str, server: Server, deployment: Deployment, place: Desk) -> str:
    alone = {"HOME": str(place.home), "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    async with running(server, deployment) as started:
        await asyncio.to_thread(
            subprocess.run,
            place.command(python, server, started.target),
            env={**os.environ, **alone, "PYTHONPATH": ""},
            stdout=sys.stderr,
            check=True,
        )
    return (place.home / "table.md").read_text()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.generator", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also llama-server")
    parser.add_argument("--model", type=Path, metavar="FILE", default=default_model())
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of every server")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    deployment = Deployment(
        options.model, max(STREAMS), num_threads=options.threads, num_waiting=max(STREAMS)
    )
    others = peers() if options.peers else []
    servers = [ours(), *(each for each in others if each.kind == "llama-server")]
    try:
        python = printed("locked-env", "generator")[0]
        with desk(options.model) as place:
            for server in servers:
                print(asyncio.run(measure(python, server, deployment, place)), end="\n\n")
    except subprocess.CalledProcessError as exc:
        failed = " ".join(map(str, exc.cmd[:3]))
        print(f"bench: {failed} ended with code {exc.returncode}; see above", file=sys.stderr)
        return 1
    except (StartError, ServerUnusable, ValueError, OSError) as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
