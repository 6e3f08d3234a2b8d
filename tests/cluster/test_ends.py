"""Nothing is left of a cluster, however it ends."""

import subprocess
import sys
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


def left_of(layout: Layout) -> list[str]:
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{layout.cgroup}")]
    links = [path.name for path in Path("/sys/class/net").glob(layout.link)]
    return [*cgroups, *links, *map(str, layout.state.parent.glob(str(layout.number)))]


@pytest.mark.skipif(bool(cluster.why_not()), reason=cluster.why_not())
def test_a_cluster_ends_with_its_killed_starter_and_is_cleaned_away(
    kube: Kube, tools: Path
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
    kube.until(lambda: layout.link not in left_of(layout), "its network is gone")
    cluster.stop(layout)
    assert left_of(layout) == []
