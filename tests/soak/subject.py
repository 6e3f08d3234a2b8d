"""The server that is soaked, and what its processes hold."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import httpx

from tests.e2e.conftest import ServerUnderTest

PATIENCE_SECONDS = 60.0  # only ends a hang
# A program for both processes: on a signal it says what only the inside can know. Freed memory
# that an allocator keeps is given back first: what is left is held by somebody.
CENSUS = """
import os, signal, sys

def count(*_):
    import asyncio, ctypes, gc, json
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        tasks = len(asyncio.all_tasks(asyncio.get_running_loop()))
    except RuntimeError:
        tasks = 0
    name = f"{os.environ['SOAK_CENSUS']}/{os.getpid()}"
    with open(name + ".new", "w") as file:
        json.dump({"tasks": tasks}, file)
    os.replace(name + ".new", name)

if {"gguf_server", "gguf_server.engine"} & set(sys.orig_argv):
    signal.signal(signal.SIGUSR2, count)
"""
_TIMES = 4
_TIMES = 4
_LISTENING, _TIME_WAIT = "0A", "06"


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds. Memory is what no file backs: mapped weights come and go."""

    pid: int
    descriptors: int
    tasks: int
    threads: int
    children: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """Both processes at a moment when no client is there."""

    api: Holding
    engine: Holding
    connections: int
    running: int
    waiting: int


class Subject:
    """A server, with the census in its processes."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        (directory / "sitecustomize.py").write_text(CENSUS)
        path = f"{directory}:{os.environ.get('PYTHONPATH', '')}"
        environment = {"PYTHONPATH": path, "SOAK_CENSUS": str(directory)}
        self.server = ServerUnderTest(*options, environment=environment)
        # A connection for each question: what is counted must not be ours.
        self.server.http.close()
        self.server.http = httpx.Client(
            timeout=PATIENCE_SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
        )

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def port(self) -> int:
        port = httpx.URL(self.url).port
        assert port is not None
        return port

    def metric(self, name: str) -> float:
        return self.server.metric(name)

    def metrics(self, pattern: str) -> dict[str, float]:
        """The series whose name and labels match, by what the pattern's group holds."""
        text = self.server.get("metrics").text
        found = re.finditer(rf"^gguf_server_{pattern} (\S+)$", text, re.MULTILINE)
        return {each[1]: float(each[2]) for each in found}

    def signal_engine(self, number: signal.Signals) -> bool:
        """False where there is none just now."""
        pid = self._engine_pid()
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def quiet(self) -> Quiet:
        """Counts when nothing is left to do, or when that does not come about.

        An engine that was stopped a moment ago looks well until the server notices.
        """
        for _ in range(_TIMES):
            with contextlib.suppress(ProcessLookupError):
                return self._counted_all()
        raise AssertionError("engines are lost though nobody takes them away")

    def _counted_all(self) -> Quiet:
        _poll(lambda: self.server.probe("readyz") == 200)
        _poll(lambda: not (self._connections() or self._busy()))
        engine = self._engine_pid()
        if engine is None:
            raise ProcessLookupError
        api = self.server.process.pid
        return Quiet(
            self._holding(api),
            self._holding(engine),
            self._connections(),
            int(self.metric("num_requests_running")),
            int(self.metric("num_requests_waiting")),
        )

    def end(self) -> int:
        """As an orchestrator ends it."""
        self.server.process.terminate()
        return self.server.wait_until_ended()

    def _busy(self) -> float:
        return self.metric("num_requests_running") + self.metric("num_requests_waiting")

    def _engine_pid(self) -> int | None:
        for pid in _children(self.server.process.pid):
            if "gguf_server.engine" in _command(pid).split("\0"):
                return pid
        return None

    def _connections(self) -> int:
        """Of clients, open in any way but remembered by the kernel only."""
        port = f"{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        fields = [line.split() for line in lines]
        states = [f[3] for f in fields if f[1].endswith(f":{port}")]
        return sum(state not in (_LISTENING, _TIME_WAIT) for state in states)

    def _holding(self, pid: int) -> Holding:
        """What is there each time: the end of our own question may still be under way."""
        counts = [self._counted(pid) for _ in range(_TIMES)]
        return Holding(*(min(each) for each in zip(*map(astuple, counts), strict=True)))

    def _counted(self, pid: int) -> Holding:
        said = self._directory / str(pid)
        said.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR2)
        _poll(lambda: said.exists() or not _command(pid))
        if not said.exists():
            raise ProcessLookupError
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        kilobytes = sum(int(status[name].split()[0]) for name in ("RssAnon", "VmSwap"))
        return Holding(
            pid=pid,
            descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
            tasks=json.loads(said.read_text())["tasks"],
            threads=int(status["Threads"]),
            children=len(_children(pid)),
            memory_bytes=kilobytes << 10,
        )


def _children(pid: int) -> list[int]:
    """Of all threads: whichever of them started a process is its parent."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _poll(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
