"""The first process in the cluster's namespaces: it starts the rest, and with it all of it ends.

``unshare ... python -m tests.cluster.inside NUMBER TOOLS [stays]``. It says "here" and waits for a
line: its network is connected from outside. Then it lives as long as its standard input is open.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster import daemons, images, storage
from tests.cluster.credentials import write_kubeconfigs, write_tokens
from tests.cluster.layout import Layout

_HANG_SECONDS = 120.0
# The kubelet would set these for the whole machine. It finds them set already.
_WANTED = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


class Inside:
    def __init__(self, layout: Layout, tools: Path) -> None:
        self._layout = layout
        self._tools = tools
        self._daemons: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def start(self) -> None:
        write_tokens(self._layout)
        daemons.write_settings(self._layout)
        self._spawn("containerd", daemons.containerd(self._layout))
        self._component(daemons.store(self._layout))
        self._component(daemons.api_server(self._layout))
        self._until(lambda: images.can_import(self._layout), "containerd answers")
        images.import_archive(self._layout, images.pause_archive(self._tools / "pause"))
        self._until(self._is_answering, "the API server is ready")
        write_kubeconfigs(self._layout)
        for command in daemons.later(self._layout):
            self._component(command)
        self._apply(storage.objects(self._layout))
        self._until(self._is_node_ready, "the node is ready")

    def _component(self, command: Sequence[str]) -> None:
        self._spawn(command[0], [str(self._tools / "kubernetes"), *command])

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        with (self._layout.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._daemons[process.pid] = name, process

    def _is_answering(self) -> bool:
        token = self._layout.tokens.read_text().partition(",")[0]
        login = ("--server", self._layout.server, "--insecure-skip-tls-verify", "--token", token)
        return not self._kubectl("get", "--raw", "/readyz", *login).returncode

    def _is_node_ready(self) -> bool:
        ready = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
        admin = ("--kubeconfig", str(self._layout.kubeconfig))
        return self._kubectl("get", "nodes", "--output", ready, *admin).stdout == "True"

    def _apply(self, objects: Mapping[str, object]) -> None:
        admin = ("--kubeconfig", str(self._layout.kubeconfig))
        done = self._kubectl("create", "--filename", "-", *admin, given=json.dumps(objects))
        if done.returncode:
            sys.exit(f"cluster: {done.stderr.strip()}")

    def _kubectl(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(self._tools / "kubectl"), *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _HANG_SECONDS
        while not condition():
            self.reap()
            if time.monotonic() > deadline:
                sys.exit(f"cluster: never happened: {what}")
            time.sleep(0.1)

    def reap(self) -> None:
        """The dead of all namespaces below come here too; only ours are missed."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._daemons:
                name, _ = self._daemons[pid]
                code = os.waitstatus_to_exitcode(status)
                sys.exit(f"cluster: {name} ended with {code}; {self._layout.logs}/{name}.log")


def main() -> None:
    number, tools, *stays = sys.argv[1:]
    layout = Layout(int(number))
    inside = Inside(layout, Path(tools))
    _mount(layout)
    _make_cgroup(layout)
    print("here", flush=True)
    if not sys.stdin.readline():
        return
    _connect(layout)
    inside.start()
    print("started", flush=True)
    while True:
        if select.select([] if stays else [sys.stdin], [], [], 0.5)[0]:
            return
        inside.reap()


def _mount(layout: Layout) -> None:
    """Directories of the machine that programs write to whatever they are told."""
    _run("mount", "--make-rshared", "/")
    wanted = layout.state / "wanted"
    for name, value in _WANTED.items():
        if not Path("/proc/sys", name).exists():
            continue
        path = wanted / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
        _run("mount", "--bind", str(path), f"/proc/sys/{name}")
    Path("/var/lib/kubelet").mkdir(
        exist_ok=True
    )  # there its device plugins are, whatever it is told
    for directory in ("/var/log", "/var/lib/cni", "/var/lib/kubelet", "/run"):
        if Path(directory).is_dir():
            ours = layout.state / "own" / directory[1:]
            ours.mkdir(parents=True)
            _run("mount", "--bind", str(ours), directory)


def _make_cgroup(layout: Layout) -> None:
    """In each hierarchy of the first version, or in the one of the second."""
    top = Path("/sys/fs/cgroup")
    unified = top / "cgroup.subtree_control"
    if unified.exists():
        wanted = (top / "cgroup.controllers").read_text().split()
        unified.write_text(" ".join(f"+{name}" for name in wanted))
        (top / layout.cgroup).mkdir()
        return
    for hierarchy in top.iterdir():
        if (hierarchy / "cgroup.procs").exists():
            (hierarchy / layout.cgroup).mkdir()


def _connect(layout: Layout) -> None:
    for command in (
        "link set lo up",
        "link set uplink up",
        f"address add {layout.node_address}/30 dev uplink",
    ):
        _run("ip", *command.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cluster: {' '.join(command)}: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
