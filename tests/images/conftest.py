"""The image, built once, and containers of it that are gone after the test, also a failed one."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "gguf-server:cpu"
BASE = "debian:bookworm-slim"
HANG_SECONDS = 120.0
BUILD_SECONDS = 1500.0  # also where the wheel has to be compiled
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
CUDA_ARCHS = os.environ.get("CUDA_ARCHS", "90")  # one is enough to test with
# What a careful cluster allows: nothing but a temporary directory.
HARDENED = (
    *("--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)

Completed = subprocess.CompletedProcess[str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first of these tests builds the image, which takes longer than a hang."""
    for item in items:
        if item.get_closest_marker("docker") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS + HANG_SECONDS))


@cache
def has_cuda_wheel() -> bool:
    wheel = [str(ROOT / "scripts" / "build-wheel"), "--portable", "--cuda", CUDA_ARCHS, "--cached"]
    return subprocess.run(wheel, capture_output=True, check=False).returncode == 0


_left_out: list[Path] = []


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """The image for GPUs is tested where its engine is compiled: that takes too long to be done
    for tests. ``scripts/ci-cuda`` does it, or says what it does instead.
    """
    if collection_path.name != "test_cuda_image.py" or has_cuda_wheel():
        return None
    _left_out.append(collection_path)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.line("gguf-server:cuda was not tested: CUDA=1 scripts/ci-cuda compiles it")


def until(condition: Callable[[], object], what: str) -> None:
    """Poll; the limit only ends a hang."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


class Engine:
    """The Docker Engine. What is made with its ``labels`` is removed by ``remove_all``."""

    def __init__(self, docker: str) -> None:
        self.docker = docker
        self.name = f"gguf-test-{uuid.uuid4().hex[:8]}"  # of this run, a prefix of all names
        self.labels = ("--label", self.name)

    def call(self, *arguments: str, check: bool = True, **environ: str) -> Completed:
        """A docker command; with ``check`` it has to succeed."""
        done = subprocess.run(
            [self.docker, *arguments],
            env={**os.environ, "DOCKER_BUILDKIT": "1", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done

    def output(self, *arguments: str) -> str:
        return self.call(*arguments).stdout.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        [found] = json.loads(self.output(kind, "inspect", name))
        assert isinstance(found, dict)
        return found

    def run(self, *arguments: str) -> Completed:
        """A container that ends by itself: options, image, command; whatever it ends with."""
        return self.call("run", "--rm", *self.labels, *arguments, check=False)

    def volume(self, name: str) -> str:
        return self.output("volume", "create", *self.labels, f"{self.name}-{name}")

    def remove_all(self) -> None:
        """In the order in which they let go of each other."""
        ours = ("--quiet", "--filter", f"label={self.name}")
        for kind, listed in (("container", ("--all",)), ("network", ()), ("volume", ())):
            if found := self.output(kind, "ls", *listed, *ours).split():
                force = () if kind == "network" else ("--force",)
                self.call(kind, "rm", *force, *found)


class Container:
    """A container that stays, its port 8000 published on a free one of this machine."""

    def __init__(
        self, engine: Engine, image: str, options: Sequence[str], command: Sequence[str]
    ) -> None:
        self.engine = engine
        publish = () if "host" in options else ("--publish", "127.0.0.1::8000")
        self.id = engine.output(
            "run", "--detach", *engine.labels, *publish, *options, image, *command
        )

    @cached_property
    def url(self) -> str:
        return "http://" + self.engine.output("port", self.id, "8000").splitlines()[0]

    def probe(self, name: str) -> int:
        """A status; 0 where nobody listens."""
        try:
            return httpx.get(f"{self.url}/{name}", timeout=HANG_SECONDS).status_code
        except httpx.TransportError:
            return 0

    def wait_until_ready(self) -> None:
        until(lambda: self.is_running or pytest.fail(self.logs()), "the container runs")
        until(
            lambda: (
                self.probe("readyz") == 200 or (not self.is_running and pytest.fail(self.logs()))
            ),
            "the server is ready",
        )

    def wait_until_ended(self) -> int:
        return int(self.engine.output("wait", self.id))

    def post(self, path: str, **body: object) -> httpx.Response:
        return httpx.post(f"{self.url}/{path}", json=body, timeout=HANG_SECONDS)

    def execute(self, *command: str) -> Completed:
        return self.engine.call("exec", self.id, *command, check=False)

    def signal(self, name: str) -> None:
        self.engine.call("kill", "--signal", name, self.id)

    def logs(self) -> str:
        done = self.engine.call("logs", self.id)
        return done.stdout + done.stderr

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.engine.inspect("container", self.id)["State"]
        return found

    @property
    def is_running(self) -> bool:
        return bool(self.state["Running"])

    @property
    def changed_files(self) -> list[str]:
        return self.engine.output("diff", self.id).splitlines()


Start = Callable[..., Container]


def require_engine() -> None:
    """Modules of tests that need one call this: without it they are one skipped line each."""
    found = _which()
    if found.returncode:
        reason = f"needs a Docker Engine, then: make test-docker ({found.stderr.strip()})"
        pytest.skip(reason, allow_module_level=True)


def _which() -> Completed:
    which = [str(ROOT / "scripts" / "docker"), "--which"]
    return subprocess.run(which, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def docker() -> str:
    """The path of a docker that can build, with an engine behind it."""
    found = _which()
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.fixture(scope="session")
def image(docker: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Built from this tree, in seconds where nothing changed. By its identity: the name IMAGE may
    meanwhile be given to what another checkout builds."""
    return build("cpu", tmp_path_factory.mktemp("image"))


def build(kind: str, directory: Path) -> str:
    identity = directory / "id"
    build_image("--iidfile", str(identity), kind=kind)
    return identity.read_text()


def build_image(
    *arguments: str, kind: str = "cpu", check: bool = True, **environ: str
) -> Completed:
    done = subprocess.run(
        [ROOT / "scripts" / "images", kind, *arguments],
        env={**os.environ, "CUDA_ARCHS": CUDA_ARCHS, **environ},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def engine(docker: str) -> Iterator[Engine]:
    """Of one test: its own name, and nothing of it left afterwards."""
    found = Engine(docker)
    try:
        yield found
    finally:
        found.remove_all()


@pytest.fixture
def start(engine: Engine, image: str) -> Start:
    """Starts containers: options, then ``command=`` if it is not the image's own."""

    def start(*options: str, command: Sequence[str] = ()) -> Container:
        return Container(engine, image, options, command)

    return start


@pytest.fixture(scope="session")
def smol(model_directory: Path) -> tuple[str, ...]:
    """Options that serve the embedded default model from a volume that cannot be written to."""
    return ("--volume", f"{model_directory}:/models:ro", "--env", f"MODEL_NAME=/models/{MODEL}")


@pytest.fixture(scope="session")
def model_directory() -> Path:
    """Where ``make test`` put it."""
    from gguf_server.settings.serve import Settings  # noqa: PLC0415

    source = Settings().source
    assert isinstance(source, Path)
    assert source.name == MODEL
    return source.parent
