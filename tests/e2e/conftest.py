"""A real server on a free port: the command a user types, the real model, real processes."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.engine.llama import tiny_models

HANG_SECONDS = 120.0
# With a cache in f16, llama.cpp's CPU attention has three kernels that round differently: for 64
# rows and more, for a single row before 512 cells and more, and for the rest. Which one computes a
# token depends on what else is in its batch. With other types there is only one.
SAME_TEXT = ("--cache-type-k", "q8_0", "--cache-type-v", "q8_0")


def until(condition: Callable[[], object], what: str) -> None:
    """Poll; the limit only ends a hang."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


class ServerUnderTest:
    """``gguf-server serve`` as a process, and what it says."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gguf_server", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # what a terminal does goes to all its processes, not to ours
        )
        self.http = httpx.Client(timeout=HANG_SECONDS)
        self.errors: list[str] = []
        self.output: list[str] = []
        self._urls: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read_errors),
            threading.Thread(target=self._read_output),
        ]
        for reader in self._readers:
            reader.start()
        self.url = ""

    def wait_until_listening(self) -> None:
        self.url = self._urls.get(timeout=HANG_SECONDS)

    def wait_until_ready(self) -> None:
        self.wait_until_listening()
        until(lambda: self.probe("readyz") == 200, "the server is ready")

    def wait_until_ended(self) -> int:
        code = self.process.wait(HANG_SECONDS)
        for reader in self._readers:
            reader.join()
        return code

    def get(self, path: str) -> httpx.Response:
        return self.http.get(f"{self.url}/{path}")

    def post(self, path: str, **body: object) -> httpx.Response:
        return self.http.post(f"{self.url}/{path}", json=body)

    def probe(self, name: str) -> int:
        return self.get(name).status_code

    def metric(self, name: str) -> float:
        """The value of a series, its labels as in the text format."""
        for line in self.get("metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series == f"gguf_server_{name}":
                return float(value)
        pytest.fail(f"there is no metric {name}")

    def engine_pid(self) -> int:
        """The engine's process, once there is one."""
        return self.child_pid("gguf_server.engine")

    def child_pid(self, module: str) -> int:
        """The process that runs it, once there is one."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid in _children(self.process.pid) if _runs(pid, module)]
            return bool(found)

        until(look, f"there is a process of {module}")
        return found[0]

    def signal_engine(self, number: signal.Signals) -> int:
        pid = self.engine_pid()
        os.kill(pid, number)
        return pid

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait_until_ended()
        self.http.close()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line.rstrip("\n"))
            if found := re.search(r"listening on (\S+);", line):
                self._urls.put(found[1])

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        self.output += [line.rstrip("\n") for line in self.process.stdout]


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def _runs(pid: int, module: str) -> bool:
    try:
        return module in Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return False


Serve = Callable[..., ServerUnderTest]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers; whatever is left of them is ended with the test."""
    servers: list[ServerUnderTest] = []

    def start(*arguments: str, ready: bool = True, **environment: str) -> ServerUnderTest:
        server = ServerUnderTest(*arguments, environment=environment)
        servers.append(server)
        if ready:
            server.wait_until_ready()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerUnderTest]:
    """One server for tests that leave it as it was: 16 slots, the embedded model."""
    shared = ServerUnderTest("--slots", "16", "--context", "2048", *SAME_TEXT)
    shared.wait_until_ready()
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The embedded default model, where ``make test`` put it."""
    from gguf_server.settings.serve import Settings  # noqa: PLC0415

    source = Settings().source
    assert isinstance(source, Path)
    return source


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts with random weights: it says nothing sensible, but at once."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    tiny_models.write_mixture(path)
    return path
