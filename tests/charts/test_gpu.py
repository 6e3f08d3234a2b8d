"""Which nodes a model's bytes admit, and which of them it prefers."""

from typing import Any

import pytest
import yaml

from gguf_server import __version__
from tests.charts.nodes import admits, score
from tests.charts.rendering import CHART, Json, render
from tests.deploy.cluster import clouds

MIB = 1 << 20
L4_MIB = 23_034


def pod(mib: float, **gpu: Any) -> Json:
    num_bytes = int(mib * MIB)
    return render({"gpu": {"count": 1, "memoryBytes": num_bytes, **gpu}}).pod


def labels(node: Json) -> dict[str, str]:
    return dict(node["metadata"]["labels"])


def gfd(mib: int, **more: str) -> dict[str, str]:
    return clouds.discovered("NVIDIA-L4", mib, 1, **more)


@pytest.mark.parametrize(
    ("needed_mib", "is_admitted"),
    [(L4_MIB - 1, True), (L4_MIB, True), (L4_MIB + 1 / MIB, False), (L4_MIB + 1, False)],
)
def test_a_gpu_of_exactly_what_is_needed_will_do(needed_mib: float, is_admitted: bool) -> None:
    assert admits(pod(needed_mib), gfd(L4_MIB)) is is_admitted


NEEDS_20_GIB = {"nodeLabels": {"aws": ["l4", "l40s"], "gke": ["nvidia-l4"], "aks": ["A100"]}}


@pytest.mark.parametrize(
    ("node", "is_admitted"),
    [
        (clouds.BARE_METAL, True),
        (clouds.GKE, True),
        (clouds.EKS, True),
        (clouds.EKS_AUTO, False),  # an A10G, which was not among those that do
        (clouds.FROM_ZERO, True),
        (clouds.AKS, True),
        (clouds.GKE_SLICES, False),
        (clouds.GKE_SHARED, False),
        (clouds.MIG_SINGLE, False),
        (clouds.SHARED, False),
        (clouds.EKS_PLAIN, False),
        (clouds.AKS_PLAIN, False),
        (clouds.NO_GPU, False),
        (clouds.UNKNOWN, True),
    ],
    ids=lambda each: each["metadata"]["name"] if isinstance(each, dict) else None,
)
def test_nodes_of_all_clouds_by_their_own_labels(node: Json, is_admitted: bool) -> None:
    assert admits(pod(20 * 1024, **NEEDS_20_GIB), labels(node)) is is_admitted


def test_without_names_aws_s_memory_decides() -> None:
    assert admits(pod(22_000), labels(clouds.EKS_AUTO))
    assert not admits(pod(22_889), labels(clouds.EKS_AUTO))


def test_a_name_alone_is_not_enough_on_aws() -> None:
    names = {"nodeLabels": {"aws": ["a100"]}}
    small = clouds.karpenter("small", "a100", 40_960, 8, "p4d.24xlarge")
    large = clouds.karpenter("large", "a100", 81_920, 8, "p4de.24xlarge")
    assert not admits(pod(60_000, **names), labels(small))
    assert admits(pod(60_000, **names), labels(large))


def test_a_slice_is_not_what_its_gpu_is_called() -> None:
    names = {"nodeLabels": {"gke": ["nvidia-h200-141gb"]}}
    whole = labels(clouds.GKE_SLICES)
    del whole["cloud.google.com/gke-gpu-partition-size"]
    assert admits(pod(60_000, **names), whole)
    assert not admits(pod(60_000, **names), labels(clouds.GKE_SLICES))


def test_shared_gpus_only_where_that_is_wanted() -> None:
    shared = labels(clouds.SHARED)
    assert not admits(pod(8_000), shared)
    assert admits(pod(8_000, allowShared=True), shared)
    sharing = {"nodeLabels": {"gke": ["nvidia-tesla-t4"]}}
    assert not admits(pod(8_000, **sharing), labels(clouds.GKE_SHARED))
    assert admits(pod(8_000, allowShared=True, **sharing), labels(clouds.GKE_SHARED))


def test_who_asks_for_a_shared_gpu_gets_one_by_its_memory() -> None:
    """As the device plugin calls them with renameByDefault; the label of the memory stays."""
    found = pod(8_000, resourceName="nvidia.com/gpu.shared")
    assert admits(found, labels(clouds.SHARED))
    assert not admits(pod(900_000, resourceName="nvidia.com/gpu.shared"), labels(clouds.SHARED))
    assert found["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu.shared": 1}
    assert found["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_partition_is_chosen_by_its_own_memory() -> None:
    found = pod(9_000, resourceName="nvidia.com/mig-1g.10gb")
    assert admits(found, labels(clouds.MIG_MIXED))
    assert not admits(found, labels(clouds.BARE_METAL))
    assert not admits(pod(10_000, resourceName="nvidia.com/mig-1g.10gb"), labels(clouds.MIG_MIXED))
    assert found["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": 1}
    assert found["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_the_smallest_that_does_is_preferred() -> None:
    found = pod(14_000)
    sizes = [15_360, 23_034, 46_068, 81_559]
    assert all(admits(found, gfd(size)) for size in sizes)
    scores = [score(found, gfd(size)) for size in sizes]
    assert scores == sorted(set(scores), reverse=True), "each has a rank of its own"
    names = pod(14_000, nodeLabels={"gke": ["nvidia-l4", "nvidia-h100-80gb"]})
    first, second = ({"cloud.google.com/gke-accelerator": n} for n in ("nvidia-l4", "nvidia-x"))
    assert score(names, first) > score(names, second)


def test_a_node_must_do_by_the_user_s_terms_as_well() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    terms = [{"matchExpressions": [zone]}, name]
    required = {"nodeSelectorTerms": terms}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    gpu = {"count": 1, "memoryBytes": 8_000 * MIB}
    found = render({"gpu": gpu, "affinity": affinity}).pod
    assert admits(found, gfd(L4_MIB) | {"zone": "a"})
    assert not admits({**found, "affinity": _without_fields(found)}, gfd(L4_MIB) | {"zone": "b"})
    assert not admits(found, gfd(7_000) | {"zone": "a"})
    fields = [each["matchFields"] for each in _terms(found) if "matchFields" in each]
    assert fields == [name["matchFields"]] * 3
    assert all(each["matchExpressions"] for each in _terms(found))


def _terms(pod: Json) -> list[Json]:
    node = pod["affinity"]["nodeAffinity"]
    terms: list[Json] = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return terms


def _without_fields(pod: Json) -> Json:
    terms = [each for each in _terms(pod) if "matchFields" not in each]
    required = {"nodeSelectorTerms": terms}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def test_other_affinities_stay_as_they_are() -> None:
    anti: Json = {"preferredDuringSchedulingIgnoredDuringExecution": []}
    found = render({"affinity": {"podAntiAffinity": anti}, "volume": {"type": "ephemeral"}})
    assert found.pod["affinity"] == {"podAntiAffinity": anti}


@pytest.mark.parametrize(
    "gpu",
    [
        {"count": 0, "memoryBytes": 8_000 * MIB},
        {"count": 1},
        {"count": 1, "memoryBytes": 8_000 * MIB, "chooseNodes": False},
        {"count": 1, "memoryBytes": 8_000 * MIB, "resourceName": "amd.com/gpu"},
        {"count": 1, "memoryBytes": 8_000 * MIB, "mode": "dra"},
    ],
)
def test_no_node_is_ruled_out_without_a_reason(gpu: Json) -> None:
    assert "nodeAffinity" not in render({"gpu": gpu}).pod["affinity"]


def test_gpus_are_asked_for_and_their_taint_is_tolerated() -> None:
    found = render({"gpu": {"count": 2}, "tolerations": [{"key": "sku", "operator": "Exists"}]})
    assert found.server["resources"]["limits"] == {"nvidia.com/gpu": 2}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert found.pod["tolerations"] == [*tolerations, {"key": "sku", "operator": "Exists"}]
    assert "tolerations" not in render({"gpu": {"count": 1, "tolerateTaint": False}}).pod
    assert "tolerations" not in render().pod


def test_a_claim_asks_for_the_same_memory() -> None:
    gpu = {"count": 2, "mode": "dra", "memoryBytes": 20_000 * MIB + 1}
    found = render({"gpu": gpu, "resources": {"requests": {"cpu": "4"}}})
    template = found.one("ResourceClaimTemplate")
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert request["exactly"]["count"] == 2
    (selector,) = request["exactly"]["selectors"]
    wanted = 'device.capacity["gpu.nvidia.com"].memory.compareTo(quantity("20001Mi")) >= 0'
    assert selector == {"cel": {"expression": wanted}}
    assert found.server["resources"] == {"requests": {"cpu": "4"}, "claims": [{"name": "gpu"}]}
    name = template["metadata"]["name"]
    assert found.pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": name}]


def test_another_claim_has_another_name_and_the_old_one_stays_for_the_way_back() -> None:
    def template(mib: int) -> Json:
        gpu = {"count": 1, "mode": "dra", "memoryBytes": mib * MIB}
        return render({"gpu": gpu}).one("ResourceClaimTemplate")

    one, other = template(20_000), template(30_000)
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade,pre-rollback",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }


def test_the_pod_says_what_it_needs_of_each_gpu() -> None:
    gpu = {"count": 1, "memoryBytes": 23_965_204_484}
    annotations = render({"gpu": gpu}).template["metadata"]["annotations"]
    assert annotations["gguf-server/gpu-memory-bytes"] == "23965204484"
    annotations = render().template["metadata"]["annotations"]
    assert "gguf-server/gpu-memory-bytes" not in annotations


def test_a_pod_with_gpus_runs_the_image_for_them() -> None:
    assert render().server["image"] == f"gguf-server:{__version__}-cpu"
    assert render({"gpu": {"count": 1}}).server["image"] == f"gguf-server:{__version__}-cuda"
    assert render({"image": {"tag": "next"}}).server["image"] == "gguf-server:next"
    mirror = {"image": {"digest": "sha256:" + 64 * "0"}, "global": {"imageRegistry": "r.io/m/"}}
    assert render(mirror).server["image"] == "r.io/m/gguf-server@sha256:" + 64 * "0"


def test_the_chart_is_of_the_version_that_images_are_tagged_with() -> None:
    """A tag of the variant alone would move, and going back would run the newer image."""
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__
