"""A plan for what a cluster has free, from the real client's answer to the printed line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_deploy.commands.plan import plan
from gguf_deploy.settings import PlanSettings
from gguf_server.errors import ClusterForbids, DoesNotFit
from tests.deploy.architectures import llama_moe
from tests.deploy.cluster import clouds
from tests.deploy.cluster.kube import Kube, kubeconfig

PODS = (clouds.pod("metal", {"nvidia.com/gpu": 7}),)


@pytest.fixture
def cluster() -> Iterator[Kube]:
    with Kube((clouds.BARE_METAL, clouds.GKE, clouds.NO_GPU), PODS) as server:
        yield server


@pytest.fixture
def asked(cluster: Kube, tmp_path: Path) -> dict[str, str]:
    return {
        "model": str(llama_moe().write(tmp_path / "moe.gguf")),
        "slots": "2",
        "cluster": "on",
        "kubeconfig": str(kubeconfig(tmp_path / "config", cluster.url)),
    }


def test_what_is_free_is_offered_and_the_node_is_named(asked, capsys) -> None:
    plan(PlanSettings.read(asked, {}))
    text = capsys.readouterr().out
    assert "*  1 x L4 " in text
    assert "1 x H100 " in text
    assert "2 x H100" not in text, "seven of eight are taken"
    assert text.splitlines()[-1] == (
        "can run on node gke, which needs a toleration of nvidia.com/gpu=present:NoSchedule"
    )


def test_what_is_taken_is_not_planned_for(asked) -> None:
    with pytest.raises(DoesNotFit, match="on 1 x H100"):
        plan(
            PlanSettings.read(asked | {"slots": "64", "context": "32768", "host_memory": "1GB"}, {})
        )


def test_a_cluster_that_forbids_to_list_nodes_is_one_line(asked, cluster: Kube) -> None:
    cluster.forbidden.add("nodes")
    with pytest.raises(ClusterForbids):
        plan(PlanSettings.read(asked, {}))
