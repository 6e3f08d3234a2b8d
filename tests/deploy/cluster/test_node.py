"""What is read out of a node's labels and resources."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_deploy.cluster.node import Node, read_node
from gguf_deploy.hardware import find
from tests.deploy.cluster import clouds

MIB = 1024**2
GIB = 1024**3
GPU = "nvidia.com/gpu"
SMALL, LARGE = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"


def one(node: clouds.Json, used: dict[str, int] | None = None) -> Node:
    (found,) = read_node(node, used or {})
    return found


@pytest.mark.parametrize(
    ("node", "gpu", "label"),
    [
        (clouds.BARE_METAL, "H100", "NVIDIA-H100-80GB-HBM3"),
        (clouds.GKE, "L4", "nvidia-l4"),
        (clouds.EKS, "L4", "l4"),
        (clouds.EKS_AUTO, "A10", "a10g"),
        (clouds.EKS_PLAIN, "L40S", "g6e.xlarge"),
        (clouds.AKS, "A100-80GB", "A100"),
        (clouds.AKS_PLAIN, "T4", "Standard_NC4as_T4_v3"),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else None,
)
def test_every_cloud_says_which_gpu_in_its_own_way(node, gpu: str, label: str) -> None:
    found = one(node)
    assert found.gpu is find(gpu)
    assert found.gpu_label == label
    assert found.memory_bytes == find(gpu).memory_bytes  # as the driver tells it, not as EC2 does
    assert found.is_whole
    assert found.ready
    assert found.why == ""
    assert found.count == int(node["status"]["allocatable"][GPU])


def test_the_driver_is_believed_before_the_cloud() -> None:
    node = deepcopy(clouds.EKS)
    node["metadata"]["labels"] |= clouds.discovered("NVIDIA-L40S", 46067, 4)
    found = one(node)
    assert found.gpu is find("L40S")
    assert found.memory_bytes == 46067 * MIB


@pytest.mark.parametrize(("memory", "gpu"), [(40960, "A100-40GB"), (81920, "A100-80GB")])
def test_an_a100_of_aws_is_known_by_its_memory(memory: int, gpu: str) -> None:
    assert one(clouds.karpenter("n", "a100", memory, 8, "p4d.24xlarge")).gpu is find(gpu)


def test_taints_read_as_kubectl_takes_them() -> None:
    assert one(clouds.GKE).taints == ("nvidia.com/gpu=present:NoSchedule",)
    assert one(clouds.CORDONED).taints == ("node.kubernetes.io/unschedulable:NoSchedule",)
    assert one(clouds.EKS).taints == ()


def test_mig_single_is_a_slice_with_the_memory_of_a_slice() -> None:
    found = one(clouds.MIG_SINGLE)
    assert (found.gpu, found.memory_bytes, found.count) == (find("A100-40GB"), 4864 * MIB, 7)
    assert not found.is_whole
    assert found.why == "less than one A100-40GB"


def test_mig_mixed_is_a_line_for_each_size() -> None:
    whole, small, large = read_node(clouds.MIG_MIXED, {SMALL: 1, GPU: 1})
    assert [each.resource for each in (whole, small, large)] == [GPU, SMALL, LARGE]
    assert [each.count for each in (whole, small, large)] == [1, 2, 1]
    assert [each.free for each in (whole, small, large)] == [0, 1, 1]
    assert small.memory_bytes == 9984 * MIB
    assert large.memory_bytes == 40320 * MIB
    assert [each.is_whole for each in (whole, small, large)] == [True, False, False]
    assert {each.gpu for each in (whole, small, large)} == {find("H100")}


def test_a_slice_without_labels_is_no_whole_gpu() -> None:
    node = clouds.karpenter("n", "h100", 81920, 8, "p5.48xlarge")
    node["status"]["allocatable"] = {SMALL: "14"}
    found = one(node)
    assert (found.gpu, found.gpu_label) == (find("H100"), "h100 1g.10gb")
    assert found.memory_bytes == int(8.75 * GIB)
    assert not found.is_whole


def test_slices_that_are_not_alike_are_said_to_be() -> None:
    labels = clouds.discovered("NVIDIA-A100-SXM4-40GB-MIG-INVALID", 0, 0, replicas="0")
    found = one(clouds.node("n", labels))
    assert found.memory_bytes is None
    assert found.why.startswith("its MIG slices are not alike")


def test_a_slice_of_gke_has_at_least_so_much() -> None:
    found = one(clouds.GKE_SLICES)
    assert (found.gpu, found.gpu_label) == (find("H200"), "nvidia-h200-141gb 1g.18gb")
    assert found.memory_bytes is not None
    assert 15 * GIB < found.memory_bytes <= 16 * GIB  # nvidia-smi mig -lgip: 16.00 GiB
    assert not found.is_whole


@pytest.mark.parametrize(
    ("node", "sharers"),
    [(clouds.SHARED, 4), (clouds.SHARED_RENAMED, 5), (clouds.GKE_SHARED, 4)],
    ids=["by name", "renamed", "gke"],
)
def test_taking_turns_is_no_memory_of_ones_own(node, sharers: int) -> None:
    found = one(node)
    assert found.sharers == sharers
    assert not found.is_whole
    assert found.gpu is not None
    assert found.memory_bytes == found.gpu.memory_bytes
    assert found.why == f"{sharers} pods share one GPU and its memory"


def test_shared_is_not_alone_even_if_it_is_not_said_with_how_many() -> None:
    labels = clouds.discovered("NVIDIA-L4-SHARED", 23034, 1, replicas="")
    found = one(clouds.node("n", labels, {GPU: 4}))
    assert (found.gpu, found.is_whole) == (find("L4"), False)


def test_a_renamed_resource_keeps_its_name_and_its_count() -> None:
    found = one(clouds.SHARED_RENAMED, {"nvidia.com/gpu.shared": 3})
    assert (found.resource, found.count, found.free) == ("nvidia.com/gpu.shared", 10, 7)


@pytest.mark.parametrize(
    ("node", "most"),
    [
        (clouds.karpenter("n", "l4", 2861, 1, "g6f.large"), 2861),
        (clouds.node("n", clouds.discovered("NVIDIA-A10-4Q", 4096, 1), {GPU: 1}), 4096),
        (
            clouds.node(
                "n", {"node.kubernetes.io/instance-type": "Standard_NV6ads_A10_v5"}, {GPU: 1}
            ),
            4096,
        ),
    ],
    ids=["aws", "vgpu", "azure"],
)
def test_what_a_cloud_cut_off_is_no_whole_gpu(node, most: int) -> None:
    found = one(node)
    assert found.memory_bytes is not None
    assert 0.9 * most * MIB < found.memory_bytes <= most * MIB
    assert not found.is_whole
    assert found.why.startswith("less than one ")


def test_an_a10_of_azure_that_is_whole_is_whole() -> None:
    machine = {"node.kubernetes.io/instance-type": "Standard_NV36ads_A10_v5"}
    assert one(clouds.node("n", machine, {GPU: 1})).is_whole


def test_a_gpu_that_is_in_no_catalogue_still_has_memory() -> None:
    found = one(clouds.UNKNOWN)
    assert (found.gpu, found.gpu_label) == (None, "Tesla-V100-SXM2-32GB")
    assert found.memory_bytes == 32768 * MIB
    assert (found.is_whole, found.why) == (False, "not in the catalogue")


def test_a_gpu_without_any_label_is_said_to_need_one() -> None:
    found = one(clouds.node("n", {}, {GPU: 2}))
    assert (found.gpu, found.memory_bytes, found.count) == (None, None, 2)
    assert "install NVIDIA's GPU feature discovery" in found.why


def test_labels_in_bytes_of_an_old_discovery_are_understood() -> None:
    found = one(clouds.node("n", clouds.discovered("Tesla-T4", 15360 * MIB, 1), {GPU: 1}))
    assert found.memory_bytes == 15360 * MIB


@pytest.mark.parametrize("memory", ["", "many", "-1", "1.5", "9" * 30])
def test_a_label_that_is_no_number_is_no_memory(memory: str) -> None:
    labels = clouds.discovered("Tesla-V100", 1, 1) | {"nvidia.com/gpu.memory": memory}
    assert one(clouds.node("n", labels, {GPU: 1})).memory_bytes is None


def test_a_node_from_zero_is_known_before_its_devices_are() -> None:
    found = one(clouds.FROM_ZERO)
    assert (found.gpu, found.count, found.free) == (find("L40S"), 0, 0)
    assert "not allocatable" in found.why


def test_cordoned_and_lost_nodes_are_not_ready_and_say_so() -> None:
    cordoned, lost = one(clouds.CORDONED), one(clouds.LOST)
    assert (cordoned.ready, cordoned.why) == (False, "cordoned")
    assert (lost.ready, lost.why) == (False, "not ready (NodeStatusUnknown)")
    bare = clouds.node("n", {})
    del bare["status"]
    assert (one(bare).ready, one(bare).count) == (False, 0)


def test_gpus_that_the_plugin_gave_up_are_counted_out() -> None:
    found = one(clouds.BROKEN)
    assert (found.count, found.why) == (7, "1 of 8 cannot be used")


def test_a_node_without_a_gpu_says_so() -> None:
    for node in (
        clouds.NO_GPU,
        clouds.node(
            "amd",
            {
                "karpenter.k8s.aws/instance-gpu-name": "x",
                "karpenter.k8s.aws/instance-gpu-manufacturer": "amd",
            },
        ),
    ):
        found = one(node)
        assert (found.gpu, found.gpu_label, found.count, found.free) == (None, "", 0, 0)
        assert found.why == "no NVIDIA GPU"


def test_what_is_free_is_not_known_without_pods() -> None:
    (found,) = read_node(clouds.BARE_METAL, None)
    assert (found.count, found.free) == (8, None)


names = st.sampled_from(["product", "memory", "replicas", "count"]).map(
    lambda name: f"nvidia.com/gpu.{name}"
) | st.sampled_from(
    [
        "cloud.google.com/gke-accelerator",
        "cloud.google.com/gke-gpu-partition-size",
        "cloud.google.com/gke-max-shared-clients-per-gpu",
        "karpenter.k8s.aws/instance-gpu-name",
        "karpenter.k8s.aws/instance-gpu-memory",
        "karpenter.azure.com/sku-gpu-name",
        "node.kubernetes.io/instance-type",
    ]
)
values = st.text(max_size=12) | st.sampled_from(
    ["NVIDIA-L4", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "a100", "nvidia-l4", "T4", "23034", "g6.x"]
)


@given(st.dictionaries(names, values), st.integers(0, 16))
def test_whatever_labels_say_the_count_is_the_clusters(labels, count: int) -> None:
    found = one(clouds.node("n", labels, {GPU: count}))
    assert found.count == found.free == count
    assert found.memory_bytes is None or found.memory_bytes > 0
    assert found.sharers >= 1
    assert not found.is_whole or (found.gpu and found.memory_bytes)
