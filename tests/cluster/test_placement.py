"""Planned models on 200 nodes of eight kinds of GPU. The scheduler is the real one, and so is the
chart; of the nodes there is what they say of themselves.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import require_cluster
from tests.cluster.fake_nodes import CLASS, FAKE, KIND, KINDS, SOURCE, FakeNode, fake_nodes
from tests.cluster.kube import CHART, Json, Kube
from tests.cluster.models import MODELS, hub_of_models, repository
from tests.hub.server import Hub

pytestmark = pytest.mark.cluster
require_cluster()

MIB = 1 << 20
PLAN = (sys.executable, "-m", "gguf_deploy", "plan", "--format", "helm")
NOWHERE = "llama-70b-bf16"
PLACED = [name for name in MODELS if name != NOWHERE]
ON_SOME_ONLY = [name for name in PLACED if name not in ("smollm2-135m", "smollm2-1b7", "llama-8b")]
BY_AFFINITY = "didn't match Pod's node affinity/selector"
NO_GPU = "Insufficient nvidia.com/gpu"
VOLUME = {"storageClassName": CLASS}
SHARED_VOLUME = VOLUME | {"accessModes": ["ReadWriteMany"]}


def plan(name: str, environment: Mapping[str, str], *options: str) -> Json:
    done = subprocess.run(
        [*PLAN, repository(name), *MODELS[name].options, *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values: Json = yaml.safe_load(done.stdout)
    return values


@dataclass(frozen=True)
class Fleet:
    """One namespace, and nodes; ``kube`` is in it."""

    kube: Kube
    nodes: dict[str, FakeNode]

    def install(self, instance: str, values: Json, **more: Any) -> None:
        """``more`` replaces values, or parts of them."""
        merged = dict(values)
        for key, value in ({"volume": VOLUME} | more).items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        self.kube.helm("install", instance, str(CHART), values=merged)

    def pods(self, instance: str) -> list[Json]:
        return self.kube.list("pods", f"app.kubernetes.io/instance={instance}")

    def bound(self, instance: str, count: int = 1) -> list[FakeNode]:
        """Where its pods are, once so many have a node."""

        def found() -> list[str]:
            pods = self.pods(instance)
            return [each["spec"]["nodeName"] for each in pods if "nodeName" in each["spec"]]

        self.kube.until(lambda: len(found()) >= count, f"{count} of {instance} have a node")
        return [self.nodes[name] for name in found()]

    def wait_until_refused(self, instance: str, why: str) -> None:
        """One of its pods has no node, and this is among the scheduler's reasons."""

        def said() -> str:
            return " ".join(
                condition.get("message", "")
                for pod in self.pods(instance)
                for condition in pod["status"].get("conditions", [])
                if condition.get("reason") == "Unschedulable"
            )

        self.kube.until(lambda: why in said(), f"{instance} is refused: {why}")

    def status(self, instance: str) -> str:
        return self.kube.deploy("status", instance).stdout

    def free(self) -> dict[str, int]:
        """GPUs, by node."""
        found = Counter({node.name: node.kind.count for node in self.nodes.values()})
        for pod in json.loads(self.kube.kubectl("get", "pods", "-A", "-o", "json").stdout)["items"]:
            for container in pod["spec"]["containers"]:
                count = container.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0)
                found[pod["spec"].get("nodeName", "")] -= int(count)
        return found


Planned = Callable[[str], Json]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def hub_of_headers(folder: Path) -> Iterator[Hub]:
    with hub_of_models(folder) as hub:
        yield hub


@pytest.fixture(scope="module")
def planned(hub_of_headers: Hub, folder: Path) -> Iterator[Planned]:
    """The values of each model, as gguf-deploy writes them; all are made side by side."""
    environment = hub_of_headers.environment(folder / "home")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        plans = {name: pool.submit(plan, name, environment) for name in MODELS}
        yield lambda name: plans[name].result()


@pytest.fixture(scope="module")
def fleet(planned: Planned, new_namespace: Callable[[], Kube], folder: Path) -> Iterator[Fleet]:
    """``planned`` only to be at work meanwhile."""
    kube = new_namespace()
    with fake_nodes(kube, folder) as nodes:
        yield Fleet(kube, nodes)
        kube.kubectl("delete", "deployments", "--all")  # while there is kwok to end the pods
        kube.until(lambda: not kube.list("pods"), "no pod is left on them")


def holds(node: FakeNode, values: Json) -> bool:
    """By what the driver says, whatever the labels do."""
    gpu = values["gpu"]
    return bool(node.kind.mib * MIB >= gpu["memoryBytes"] and node.kind.count >= gpu["count"])


def kinds_that_hold(values: Json) -> set[str]:
    nodes = [FakeNode("", kind, "metal") for kind in KINDS]
    return {node.kind.name for node in nodes if holds(node, values)}


def on(*kinds: str) -> Json:
    """Affinity to these kinds only: as if no others were there."""
    term = {"matchExpressions": [{"key": KIND, "operator": "In", "values": list(kinds)}]}
    required = {"nodeSelectorTerms": [term]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


@pytest.mark.parametrize("name", PLACED)
def test_a_planned_model_is_on_the_smallest_gpu_that_holds_it(
    fleet: Fleet, planned: Planned, name: str
) -> None:
    values = planned(name)
    fleet.install(name, values)
    [node] = fleet.bound(name)
    assert holds(node, values)
    free = fleet.free()
    smaller = [
        other.name
        for other in fleet.nodes.values()
        if other.source == node.source
        and other.kind.mib < node.kind.mib
        and holds(other, values)
        and free[other.name] >= values["gpu"]["count"]
    ]
    assert not smaller, f"{name} is on {node.kind.name}"


@pytest.mark.parametrize("source", ["metal", "karpenter-new"])
def test_the_smallest_of_models_is_on_the_smallest_gpu_by_its_memory_alone(
    fleet: Fleet, planned: Planned, source: str
) -> None:
    """GKE's and Azure's nodes are chosen by name."""
    instance = f"tiny-{source}"
    fleet.install(instance, planned("smollm2-135m"), nodeSelector={SOURCE: source})
    [node] = fleet.bound(instance)
    assert node.kind == KINDS[0]


@pytest.mark.parametrize("name", ON_SOME_ONLY)
def test_with_only_smaller_gpus_free_it_has_no_node(
    fleet: Fleet, planned: Planned, name: str
) -> None:
    """Whoever labelled them."""
    values = planned(name)
    small = {kind.name for kind in KINDS} - kinds_that_hold(values)
    assert small
    instance = f"small-{name}"
    fleet.install(instance, values, affinity=on(*small))
    fleet.wait_until_refused(instance, BY_AFFINITY)
    assert not any("nodeName" in pod["spec"] for pod in fleet.pods(instance))


def test_all_that_hold_it_are_taken_and_no_other(fleet: Fleet, planned: Planned) -> None:
    """By as many pods as there is room for, and one more, which has to wait."""
    values = planned("deepseek-671b")
    free, count = fleet.free(), values["gpu"]["count"]
    able = [node for node in fleet.nodes.values() if node.has_plugin and holds(node, values)]
    room = sum(free[node.name] // count for node in able)
    assert room > len(able)
    fleet.install("many", values, replicas=room + 1, volume=SHARED_VOLUME)
    bound = fleet.bound("many", room)
    assert {node.name for node in bound} == {node.name for node in able}
    fleet.wait_until_refused("many", NO_GPU)
    assert len(fleet.bound("many", room)) == room
    assert "large enough but taken: 143771 MiB on node fake-" in fleet.status("many")


def test_what_no_node_holds_waits_and_status_tells_of_the_largest(
    fleet: Fleet, planned: Planned
) -> None:
    fleet.install(NOWHERE, planned(NOWHERE))
    fleet.wait_until_refused(NOWHERE, BY_AFFINITY)
    told = fleet.status(NOWHERE)
    assert "needs 145.6 GiB on each of 1 GPU; the largest is 143771 MiB on node fake-" in told


def test_a_node_started_for_it_is_known_by_its_cloud_s_labels_alone(
    fleet: Fleet, planned: Planned
) -> None:
    """As when Karpenter scales from zero: GPUs come once the device plugin runs."""
    node = FakeNode("fake-from-zero", KINDS[3], "karpenter new")
    kube = fleet.kube
    here = {"kubernetes.io/hostname": node.name}
    fleet.install("from-zero", planned("moe-8x3b"), nodeSelector=here)
    fleet.wait_until_refused("from-zero", BY_AFFINITY)
    kube.apply(node.document(has_plugin=False))
    fleet.wait_until_refused("from-zero", NO_GPU)
    status = {"status": node.document()["status"]}
    patch = ("--subresource", "status", "--patch", json.dumps(status))
    kube.kubectl("patch", "node", node.name, *patch)
    fleet.nodes[node.name] = node
    assert fleet.bound("from-zero") == [node]


def test_a_plan_for_the_cluster_is_for_a_gpu_that_is_there(
    fleet: Fleet, hub_of_headers: Hub, folder: Path
) -> None:
    """The catalogue's smallest for it is of a kind that no node has."""
    here = {"KUBECONFIG": str(fleet.kube.kubeconfig)}
    environment = hub_of_headers.environment(folder / "home", **here)
    values = plan("moe-8x3b", environment, "--cluster")
    fleet.install("for-the-cluster", values)
    [node] = fleet.bound("for-the-cluster")
    assert holds(node, values)
    assert values["gpu"]["name"] in kinds_that_hold(values)


def test_a_claim_gets_only_a_device_whose_memory_holds_it(fleet: Fleet, planned: Planned) -> None:
    """Dynamic resource allocation: one GPU of each kind is published."""
    values = planned("moe-8x3b")
    gpu = {"mode": "dra", "deviceClassName": CLASS}
    kinds = kinds_that_hold(values)
    count = len(kinds) + 1
    fleet.install("claims", values, gpu=gpu, replicas=count, volume=SHARED_VOLUME)
    bound = fleet.bound("claims", len(kinds))
    assert {(node.kind.name, node.source) for node in bound} == {(name, "dra") for name in kinds}
    fleet.wait_until_refused("claims", "cannot allocate all claims")
    assert len(fleet.bound("claims", len(kinds))) == len(kinds)


def test_a_pod_without_a_gpu_takes_none_of_their_nodes(fleet: Fleet) -> None:
    model = {"model": {"name": "gguf-tests/any"}}
    fleet.install("without", model, nodeSelector={FAKE: "yes"})
    fleet.wait_until_refused("without", "untolerated taint")
