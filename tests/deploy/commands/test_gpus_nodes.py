"""What ``gguf-deploy gpus`` and ``nodes`` print."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_deploy.cluster.inventory import FREE_IS_UNKNOWN
from gguf_deploy.commands.gpus import gpus
from gguf_deploy.commands.nodes import nodes
from gguf_deploy.hardware import GPUS
from gguf_deploy.settings import GpusSettings, NodesSettings
from gguf_server.errors import ClusterForbids, SettingsError
from tests.deploy.cluster import clouds
from tests.deploy.cluster.kube import Kube, kubeconfig

FEW = (clouds.BARE_METAL, clouds.GKE, clouds.MIG_SINGLE, clouds.CORDONED, clouds.NO_GPU)
PODS = (clouds.pod("metal", {"nvidia.com/gpu": 3}),)


@pytest.fixture
def cluster() -> Iterator[Kube]:
    with Kube(FEW, PODS) as server:
        yield server


@pytest.fixture
def file(cluster: Kube, tmp_path: Path) -> str:
    return str(kubeconfig(tmp_path / "config", cluster.url))


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_gpus_is_a_line_for_each_and_the_date_of_the_prices(capsys) -> None:
    gpus(GpusSettings.read({}, {}))
    head, *rows, last = said(capsys)
    assert head.split() == [
        *("GPU", "MEMORY", "BANDWIDTH", "CUDA", "MODAL", "NODE", "LABELS", "$", "AN", "HOUR")
    ]
    assert [row.split()[0] for row in rows] == [gpu.name for gpu in GPUS]
    assert rows[1].split() == [
        *("L4", "22.5", "GiB", "300.0", "GB/s", "8.9", "L4,", "up", "to", "8"),
        *("NVIDIA-L4,", "nvidia-l4,", "l4", "0.80"),
    ]
    assert rows[-1].endswith(" -")
    assert last == "Prices are what Modal listed on 2026-05-07; give your own with --prices FILE."


def test_gpus_takes_prices_from_a_file(tmp_path: Path, capsys) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("L4 = 0.4\nRTX-5090 = 0.25")
    gpus(GpusSettings.read({"prices": str(path)}, {}))
    printed = said(capsys)
    assert printed[2].endswith(" 0.40")
    assert printed[-2].endswith(" 0.25")
    assert printed[-1] == f"Prices are what Modal listed on 2026-05-07, or those of {path}."
    gpus(GpusSettings.read({"prices": str(path), "json": "on"}, {}))
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["gpus"]}
    assert (found["L4"]["price_per_hour"], found["L4"]["price_is_yours"]) == (0.4, True)
    assert (found["T4"]["price_per_hour"], found["T4"]["price_is_yours"]) == (0.5904, False)
    assert (found["H200"]["price_per_hour"], found["H200"]["price_is_yours"]) == (None, False)


def test_gpus_as_json_is_the_whole_catalogue_in_bytes(capsys) -> None:
    gpus(GpusSettings.read({"json": "on"}, {}))
    printed = json.loads(capsys.readouterr().out)
    assert printed["prices_as_of"] == "2026-05-07"
    assert [each["name"] for each in printed["gpus"]] == [gpu.name for gpu in GPUS]
    l4 = printed["gpus"][1]
    assert l4["memory_bytes"] == 23034 * 1024**2
    assert l4["bandwidth_bytes_per_second"] == 300_000_000_000
    assert l4["compute_capability"] == [8, 9]
    assert (l4["modal_name"], l4["max_per_modal_container"]) == ("L4", 8)
    assert l4["labels"]["gke"] == ["nvidia-l4"]


def test_gpus_refuses_prices_that_are_no_good(tmp_path: Path, capsys) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        gpus(GpusSettings(prices=str(tmp_path / "none.json")))
    assert said(capsys) == []


def test_the_file_of_prices_may_be_a_variable_and_below_home() -> None:
    settings = GpusSettings.read({}, {"GGUF_PRICES": "~/p.toml"})
    assert settings.prices_path == Path("~/p.toml").expanduser()


def test_nodes_is_a_line_for_each_with_a_gpu(cluster: Kube, file: str, capsys) -> None:
    nodes(NodesSettings.read({"kubeconfig": file}, {}))
    assert said(capsys) == [
        "NODE        GPU                               MEMORY    FREE  OF  TAINTS",
        "metal       H100                              79.6 GiB  5     8   -",
        (
            "gke         L4                                22.5 GiB  1     1   "
            "nvidia.com/gpu=present:NoSchedule"
        ),
        (
            "mig-single  NVIDIA-A100-SXM4-40GB-MIG-1g.5gb  4.8 GiB   7     7   "
            "-                                            less than one A100-40GB"
        ),
        (
            "cordoned    L4                                22.5 GiB  1     1   "
            "node.kubernetes.io/unschedulable:NoSchedule  cordoned"
        ),
        "1 more node has no GPU.",
    ]


def test_nodes_says_when_it_does_not_know_what_is_free(cluster: Kube, file: str, capsys) -> None:
    cluster.forbidden = {"pods"}
    nodes(NodesSettings(kubeconfig=file))
    printed = said(capsys)
    assert printed[1] == "metal       H100                              79.6 GiB  ?     8   -"
    assert printed[-1] == FREE_IS_UNKNOWN
    nodes(NodesSettings(kubeconfig=file, json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["warnings"] == [FREE_IS_UNKNOWN]
    assert {each["free"] for each in found["nodes"]} == {None}


def test_nodes_as_json_is_all_nodes_in_bytes(cluster: Kube, file: str, capsys) -> None:
    nodes(NodesSettings(kubeconfig=file, kube_context="here", json=True))
    printed = json.loads(capsys.readouterr().out)
    assert printed["warnings"] == []
    assert [each["name"] for each in printed["nodes"]] == [each["metadata"]["name"] for each in FEW]
    assert printed["nodes"][2] == {
        "name": "mig-single",
        "gpu": "A100-40GB",
        "gpu_label": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",
        "memory_bytes": 4864 * 1024**2,
        "resource": "nvidia.com/gpu",
        "count": 7,
        "free": 7,
        "sharers": 1,
        "whole": False,
        "taints": [],
        "ready": True,
        "why": "less than one A100-40GB",
    }
    assert (printed["nodes"][4]["gpu"], printed["nodes"][4]["count"]) == (None, 0)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ((), "The cluster has no nodes."),
        ((clouds.NO_GPU,), "No node of the cluster has an NVIDIA GPU; it has 1."),
    ],
)
def test_a_cluster_without_gpus_is_one_line(
    cluster: Kube, file: str, found, line: str, capsys
) -> None:
    cluster.lists["nodes"] = found
    nodes(NodesSettings(kubeconfig=file))
    assert said(capsys) == [line]


def test_labels_of_anybody_cannot_touch_the_terminal(cluster: Kube, file: str, capsys) -> None:
    labels = clouds.discovered("\x1b[31mred", 1000, 1)
    cluster.lists["nodes"] = (clouds.node("n", labels, {"nvidia.com/gpu": 1}),)
    nodes(NodesSettings(kubeconfig=file))
    assert "\x1b" not in capsys.readouterr().out


def test_a_cluster_that_refuses_prints_nothing(cluster: Kube, file: str, capsys) -> None:
    cluster.forbidden = {"nodes"}
    with pytest.raises(ClusterForbids):
        nodes(NodesSettings(kubeconfig=file))
    assert said(capsys) == []
