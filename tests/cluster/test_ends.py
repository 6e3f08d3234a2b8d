"""Nothing is left of a cluster, however it ends."""

import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import cluster
from tests.cluster.conftest import require_cluster
from tests.cluster.kube import Kube
from tests.cluster.layout import Layout

pytestmark = pytest.mark.cluster
require_cluster()

_STARTER = """
import sys, time, pathlib
from tests.cluster import cluster
found = cluster.take()
found.start(pathlib.Path(sys.argv[1]))
print(found.layout.number, flush=True)
time.sleep(3600)
"""


@pytest.fixture
def plugin() -> Iterator[Path]:
    """What a device plugin of this machine's own kubelet would have there."""
    path = Path(f"/var/lib/kubelet/device-plugins/gguf-test-{uuid.uuid4().hex[:8]}.sock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        yield path
    path.unlink(missing_ok=True)


def left_of(layout: Layout) -> list[str]:
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{layout.cgroup}")]
    links = [path.name for path in Path("/sys/class/net").glob(layout.link)]
    return [*cgroups, *links, *map(str, layout.state.parent.glob(str(layout.number)))]


@pytest.mark.skipif(bool(cluster.why_not()), reason=cluster.why_not())
def test_a_cluster_ends_with_its_killed_starter_and_leaves_the_machine_as_it_was(
    kube: Kube, tools: Path, plugin: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(tools)],
        cwd=cluster.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout
        layout = Layout(int(starter.stdout.readline()))
        assert {layout.link, str(layout.state)} <= set(left_of(layout))
        nodes = kube.call(tools / "kubectl", "--kubeconfig", layout.kubeconfig, "get", "nodes")
        assert "Ready" in nodes.stdout
        starter.kill()
    assert plugin.is_socket(), "a kubelet clears away the plugins that it finds"
    kube.until(lambda: layout.link not in left_of(layout), "its network is gone")
    cluster.stop(layout)
    assert left_of(layout) == []
