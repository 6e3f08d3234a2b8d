"""Starts and ends a cluster from outside its namespaces."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import IO, TypeVar

from tests.cluster.layout import Layout

ROOT = Path(__file__).parents[2]
_CLUSTERS = 8  # side by side on one machine: one for each checkout that tests
_HANG_SECONDS = 60.0
_NEEDED = ("containerd", "ctr", "runc", "unshare", "setpriv", "ip", "iptables", "openssl")


T = TypeVar("T")


class NoCluster(Exception):
    """What keeps this machine from having one, and what to do."""


@cache
def why_not() -> str:
    """Empty where a cluster can be started."""
    if sys.platform != "linux" or os.geteuid():
        return "needs root on Linux, or KUBECONFIG of a cluster in GGUF_TEST_KUBECONFIG"
    missing = [name for name in _NEEDED if not shutil.which(name)]
    if not Path("/usr/lib/cni/bridge").exists():
        missing.append("/usr/lib/cni/bridge")
    if missing:
        return f"needs {', '.join(missing)}; scripts/ci-setup installs them"
    which = [str(ROOT / "scripts" / "docker"), "--which"]
    docker = subprocess.run(which, capture_output=True, text=True, check=False)
    return f"needs a Docker Engine ({docker.stderr.strip()})" if docker.returncode else ""


class Cluster:
    """Whoever holds its lock has it. It ends with the process that started it, however that ends,
    unless it ``stays``: then it lasts until ``stop``.
    """

    def __init__(self, layout: Layout, lock: IO[str]) -> None:
        self.layout = layout
        self._lock = lock
        self._process: subprocess.Popen[str] | None = None

    def start(self, tools: Path, *, stays: bool = False) -> None:
        clean(self.layout)
        self.layout.logs.mkdir(parents=True)
        self._process = process = self._spawn(tools, stays=stays)
        self._write_lock(f"{process.pid} {ROOT}")
        try:
            self._expect("here", process)
            _connect(self.layout, _child(process.pid))
            print("go", file=process.stdin, flush=True)
            self._expect("started", process)
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        self._end()
        clean(self.layout)
        self._lock.close()

    def _spawn(self, tools: Path, *, stays: bool) -> subprocess.Popen[str]:
        with (self.layout.logs / "inside.log").open("w") as log:
            return subprocess.Popen(
                _inside(self.layout, tools, stays=stays),
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                pass_fds=(self._lock.fileno(),),
                start_new_session=True,
            )

    def _write_lock(self, content: str) -> None:
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(content)
        self._lock.flush()

    def _expect(self, word: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        if process.stdout.readline().strip() != word:
            raise NoCluster((self.layout.logs / "inside.log").read_text().strip())

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()


def _inside(layout: Layout, tools: Path, *, stays: bool) -> list[str]:
    spaces = ["--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    inside = [sys.executable, "-m", "tests.cluster.inside", str(layout.number), str(tools)]
    return ["unshare", *spaces, "--propagation", "slave", *inside, *(["stays"] if stays else [])]


def go_tools(*names: str) -> Path:
    """Where they are, compiled if need be."""
    command = [str(ROOT / "scripts" / "go-tools"), *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise NoCluster("its programs do not compile")
    return Path(done.stdout.strip())


def take() -> Cluster:
    """The first that nobody has."""
    Layout(0).lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(_CLUSTERS):
        layout = Layout(number)
        if lock := _lock(layout):
            lock.truncate(0)  # of the one before, whose process may be anybody's by now
            return Cluster(layout, lock)
    raise NoCluster(f"{_CLUSTERS} clusters run on this machine already")


def of_checkout(checkout: Path) -> Iterator[Layout]:
    """Those that stayed, and what is left of those that were killed."""
    for layout in map(Layout, range(_CLUSTERS)):
        if layout.lock.exists() and layout.lock.read_text().partition(" ")[2] == str(checkout):
            yield layout


def stop(layout: Layout) -> None:
    """Whoever started it."""
    with _lock(layout) or _kill(layout) as lock:
        clean(layout)
        lock.truncate(0)


def _kill(layout: Layout) -> IO[str]:
    """Somebody holds the lock, and it is this process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(layout.lock.read_text().partition(" ")[0]), signal.SIGKILL)
    return _until(partial(_lock, layout), f"cluster {layout.number} ends")


def _lock(layout: Layout) -> IO[str] | None:
    file = layout.lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _connect(layout: Layout, pid: int) -> None:
    """A cable between this machine and the cluster's network, which goes when that goes."""
    for command in (
        f"link add {layout.link} type veth peer name uplink netns {pid}",
        f"address add {layout.host_address}/30 dev {layout.link}",
        f"link set {layout.link} up",
        f"route add {layout.pods} via {layout.node_address}",
        f"route add {layout.services} via {layout.node_address}",
    ):
        done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCluster(f"ip {command}: {done.stderr.strip()}")


def clean(layout: Layout) -> None:
    """What outlives a cluster's last process: its cgroups and its files."""
    top = Path("/sys/fs/cgroup")
    for cgroup in (*top.glob(layout.cgroup), *top.glob(f"*/{layout.cgroup}")):
        _until(partial(_remove_cgroup, cgroup), f"{cgroup} is empty")
    _until(partial(_remove_files, layout.state), f"{layout.state} is gone")


def _remove_cgroup(top: Path) -> bool:
    for path, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
    return not top.exists()


def _remove_files(state: Path) -> bool:
    """Never across a mount: what a pod has mounted is not the cluster's."""
    mounts = Path("/proc/self/mountinfo").read_text()
    if f" {state}/" in mounts:
        return False
    shutil.rmtree(state, ignore_errors=True)
    return not state.exists()


def _until(condition: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + _HANG_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise NoCluster(f"never happened: {what}")
        time.sleep(0.05)
    return found
