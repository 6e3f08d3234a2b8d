"""`python -m tests.bench.fetch`: the model store beside curl and the hub's own client, in one run.

Prints a table. It asserts no time: machines differ.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gguf_server.settings.serve import Settings
from tests.gguf_files import header
from tests.hub.content import File
from tests.hub.server import Hub

MEGABYTE = 1_000_000
KILLS = 20
KILLS_OF_THE_HUBS_CLIENT = 3  # it starts over every time
PACE_BYTES_PER_SECOND = 25_000_000  # each connection, so that kills hit in the middle
STARTS = 7
NAME = "m-Q8_0.gguf"
HUBS_CLIENT = (
    "import sys; from huggingface_hub import hf_hub_download as get; "
    "get('org/repo', sys.argv[1], local_dir=sys.argv[2])"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A hub, and an empty directory to fetch into."""

    hub: Hub
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        more = {"GGUF_MODELS_DIR": str(self.root / "models"), "HF_HUB_DISABLE_XET": "1"}
        return self.hub.environment(self.root / "home", **more)

    def ours(self) -> list[str]:
        return [sys.executable, "-m", "gguf_server", "fetch", "org/repo", "--json"]

    def hubs_client(self) -> list[str]:
        return [sys.executable, "-c", HUBS_CLIENT, NAME, str(self.root / "theirs")]

    def run(self, command: Sequence[str]) -> float:
        """Seconds."""
        began = time.perf_counter()
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        return time.perf_counter() - began

    def curl(self) -> list[str]:
        commit = self.hub.repositories["org/repo"].refs["main"]
        url = f"{self.hub.endpoint}/org/repo/resolve/{commit}/{NAME}"
        return ["curl", "-sSfL", "--noproxy", "*", "-o", str(self.root / "curled"), url]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fetch", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000, help="of the file to fetch")
    parser.add_argument("--kill-megabytes", type=int, default=500, help="of the file to kill at")
    options = parser.parse_args(arguments)
    rows = [
        *speed(options.megabytes * MEGABYTE),
        *kills(options.kill_megabytes * MEGABYTE),
        *warm_start(),
    ]
    print("| what | ours | beside it |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0


def speed(size_bytes: int) -> Iterator[tuple[str, str, str]]:
    """In turns, twice; the better of each."""
    with place(size_bytes) as there:
        ours, curl, check, theirs = [], [], [], []
        for _ in range(2):
            ours.append(there.run(there.ours()))
            curl.append(there.run(there.curl()))
            check.append(there.run(["sha256sum", str(there.root / "curled")]))
            theirs.append(there.run(there.hubs_client()))
            subprocess.run(["rm", "-rf", *map(str, there.root.glob("[mtc]*"))], check=True)
    rate = size_bytes / MEGABYTE / min(ours)
    beside = min(curl) + min(check)
    yield (
        f"fetch {size_bytes / 1e9:.1f} GB over loopback, verified",
        f"{min(ours):.1f} s ({rate:.0f} MB/s)",
        f"curl {min(curl):.1f} s + sha256sum {min(check):.1f} s: ratio {beside / min(ours):.2f}",
    )
    yield ("the same, huggingface_hub's client, not verified", "", f"{min(theirs):.1f} s")


def kills(size_bytes: int) -> Iterator[tuple[str, str, str]]:
    """Bytes that the hub sent for one file, by those of the file."""
    ours = _killed(size_bytes, KILLS, Place.ours)
    theirs = _killed(size_bytes, KILLS_OF_THE_HUBS_CLIENT, Place.hubs_client)
    few = KILLS_OF_THE_HUBS_CLIENT
    yield (
        f"moved of {size_bytes / 1e6:.0f} MB, {KILLS} times kill -9; {few} times the hub's client",
        f"{ours:.2f}",
        f"{theirs:.2f}",
    )


def _killed(size_bytes: int, count: int, command: Callable[[Place], list[str]]) -> float:
    points = sorted(random.Random(7).sample(range(size_bytes // 50, size_bytes), count))
    with place(size_bytes) as there:
        there.hub.bytes_per_second = PACE_BYTES_PER_SECOND
        for index, point in enumerate(points):
            # The hub's client starts over: a point is then one of its own bytes.
            start = there.hub.bytes_sent(NAME) if command is Place.hubs_client else 0
            with subprocess.Popen(
                command(there),
                env=there.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                while there.hub.bytes_sent(NAME) - start < point and process.poll() is None:
                    time.sleep(0.005)
                assert process.poll() is None, f"it ended before kill {index + 1}"
                process.kill()
        there.run(command(there))
        return there.hub.bytes_sent(NAME) / size_bytes


def warm_start() -> Iterator[tuple[str, str, str]]:
    """Until /readyz says so, the model in place, in turns."""
    model = Settings().source
    assert isinstance(model, Path)
    with place(0, model) as there:
        there.run(there.ours())
        path = str(next((there.root / "models").rglob(NAME)))
        by_name, by_path = [], []
        for _ in range(STARTS):
            by_name.append(_start_seconds(there, "org/repo"))
            by_path.append(_start_seconds(there, path))
    added = statistics.median(by_name) - statistics.median(by_path)
    yield (
        f"start to ready by name, {STARTS} times, median",
        f"{statistics.median(by_name):.2f} s",
        f"by path {statistics.median(by_path):.2f} s: {1000 * added:+.0f} ms",
    )


def _start_seconds(there: Place, model: str) -> float:
    port = random.randint(20_000, 30_000)
    command = [sys.executable, "-m", "gguf_server", "serve", model, "--port", str(port)]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--context", "256", "--slots", "1"],
        env=there.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not _is_ready(port):
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.terminate()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def place(size_bytes: int, model: Path | None = None) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="gguf-bench-") as directory, Hub() as hub:
        path = model or _model(Path(directory) / "offered.gguf", size_bytes)
        file = File(path)
        assert file.sha256, "hashed now, not while something is measured"
        hub.repository("org/repo", {NAME: file})
        yield Place(hub, Path(directory))


def _model(path: Path, size_bytes: int) -> Path:
    """Random numbers that call themselves a model."""
    metadata = {"general.architecture": "llama", "tokenizer.chat_template": "x"}
    start, num_bytes = header(metadata, [("w", (size_bytes // 4,), 0)])
    with path.open("wb") as file:
        file.write(start)
        while num_bytes:
            chunk = os.urandom(min(num_bytes, 8 << 20))
            num_bytes -= file.write(chunk)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
