"""Nodes as the clouds make them, and pods that take their devices, as an API server has them."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def node(
    name: str,
    labels: Mapping[str, str],
    resources: Mapping[str, int] | None = None,
    *,
    taints: Sequence[Json] = (),
    is_ready: bool = True,
    is_cordoned: bool = False,
    capacity: Mapping[str, int] | None = None,
) -> Json:
    """``resources`` are those with devices; a CPU and memory has every node."""

    def quantities(devices: Mapping[str, int]) -> Json:
        whole = {key: str(value) for key, value in devices.items()}
        return {"cpu": "3920m", "memory": "12659Mi", "pods": "110", **whole}

    spec: Json = {"providerID": f"x://{name}"}
    if taints:
        spec["taints"] = list(taints)
    if is_cordoned:
        spec["unschedulable"] = True
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    unready = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", **labels},
        },
        "spec": spec,
        "status": {
            "allocatable": quantities(resources or {}),
            "capacity": quantities(capacity or resources or {}),
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                ready if is_ready else unready,
            ],
        },
    }


def discovered(product: str, memory: int, count: int, **more: str) -> dict[str, str]:
    """Labels of NVIDIA's GPU feature discovery; ``more`` are names after ``nvidia.com/gpu.``."""
    labels = {"present": "true", "product": product, "memory": str(memory), "count": str(count)}
    labels |= {"replicas": "1", "sharing-strategy": "none", **more}
    return {f"nvidia.com/gpu.{key}": value for key, value in labels.items()}


def pod(
    node_name: str,
    *containers: Mapping[str, int],
    phase: str = "Running",
    init: Sequence[Mapping[str, int]] = (),
    sidecars: Sequence[Mapping[str, int]] = (),
) -> Json:
    """Limits, as people write them; the API server copies them into requests."""

    def made(resources: Mapping[str, int], **more: str) -> Json:
        amounts = {key: str(value) for key, value in resources.items()}
        return {"name": "c", "resources": {"limits": amounts, "requests": amounts}, **more}

    spec: Json = {"containers": [made(each) for each in containers]}
    spec["initContainers"] = [
        *(made(each, restartPolicy="Always") for each in sidecars),
        *(made(each) for each in init),
    ]
    if node_name:
        spec["nodeName"] = node_name
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": spec, "status": {"phase": phase}}


GPU_TAINT: Json = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}

BARE_METAL = node(
    "metal",
    discovered("NVIDIA-H100-80GB-HBM3", 81559, 8, family="hopper"),
    {"nvidia.com/gpu": 8},
)
GKE = node(
    "gke",
    {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-accelerator-count": "1",
        "node.kubernetes.io/instance-type": "g2-standard-8",
    },
    {"nvidia.com/gpu": 1},
    taints=[GPU_TAINT],
)
GKE_SLICES = node(
    "gke-slices",
    {
        "cloud.google.com/gke-accelerator": "nvidia-h200-141gb",
        "cloud.google.com/gke-gpu-partition-size": "1g.18gb",
    },
    {"nvidia.com/gpu": 7},
)
GKE_SHARED = node(
    "gke-shared",
    {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
        "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
        "cloud.google.com/gke-max-shared-clients-per-gpu": "4",
    },
    {"nvidia.com/gpu": 4},
)


def karpenter(name: str, gpu: str, memory: int, count: int, machine: str) -> Json:
    """A node that Karpenter made; the label is there before the device plugin is."""
    prefix = "karpenter.k8s.aws/instance-gpu"
    labels = {
        f"{prefix}-name": gpu,
        f"{prefix}-manufacturer": "nvidia",
        f"{prefix}-memory": str(memory),
        f"{prefix}-count": str(count),
        "node.kubernetes.io/instance-type": machine,
    }
    return node(name, labels, {"nvidia.com/gpu": count})


EKS = karpenter("eks", "l4", 22888, 4, "g6.12xlarge")
EKS_AUTO = node(
    "eks-auto",
    {
        "eks.amazonaws.com/instance-gpu-name": "a10g",
        "eks.amazonaws.com/instance-gpu-manufacturer": "nvidia",
        "eks.amazonaws.com/instance-gpu-memory": "22888",
    },
    {"nvidia.com/gpu": 1},
)
EKS_PLAIN = node(
    "eks-plain", {"node.kubernetes.io/instance-type": "g6e.xlarge"}, {"nvidia.com/gpu": 1}
)
FROM_ZERO = karpenter("from-zero", "l40s", 45776, 1, "g6e.2xlarge")
FROM_ZERO["status"]["allocatable"].pop("nvidia.com/gpu")
FROM_ZERO["status"]["capacity"].pop("nvidia.com/gpu")
AKS = node(
    "aks",
    {
        "karpenter.azure.com/sku-gpu-name": "A100",
        "karpenter.azure.com/sku-gpu-manufacturer": "nvidia",
        "node.kubernetes.io/instance-type": "Standard_NC48ads_A100_v4",
    },
    {"nvidia.com/gpu": 2},
    taints=[{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
)
AKS_PLAIN = node(
    "aks-plain",
    {
        "kubernetes.azure.com/accelerator": "nvidia",
        "node.kubernetes.io/instance-type": "Standard_NC4as_T4_v3",
    },
    {"nvidia.com/gpu": 1},
)
MIG_SINGLE = node(
    "mig-single",
    discovered("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 4864, 7)
    | {"nvidia.com/mig.strategy": "single", "nvidia.com/mig.capable": "true"},
    {"nvidia.com/gpu": 7},
)
MIG_MIXED = node(
    "mig-mixed",
    discovered("NVIDIA-H100-80GB-HBM3", 81559, 2)
    | {
        "nvidia.com/mig.strategy": "mixed",
        "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
        "nvidia.com/mig-1g.10gb.memory": "9984",
        "nvidia.com/mig-1g.10gb.count": "2",
        "nvidia.com/mig-3g.40gb.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
        "nvidia.com/mig-3g.40gb.memory": "40320",
        "nvidia.com/mig-3g.40gb.count": "1",
    },
    {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.10gb": 2, "nvidia.com/mig-3g.40gb": 1},
)
SHARED = node(
    "shared",
    discovered(
        "NVIDIA-A10G-SHARED", 23028, 1, replicas="4", **{"sharing-strategy": "time-slicing"}
    ),
    {"nvidia.com/gpu": 4},
)
SHARED_RENAMED = node(
    "shared-renamed",
    discovered("Tesla-T4", 15360, 2, replicas="5"),
    {"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 10},
)
UNKNOWN = node("unknown", discovered("Tesla-V100-SXM2-32GB", 32768, 2), {"nvidia.com/gpu": 2})
CORDONED = node(
    "cordoned",
    discovered("NVIDIA-L4", 23034, 1),
    {"nvidia.com/gpu": 1},
    taints=[{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}],
    is_cordoned=True,
)
LOST = node("lost", discovered("NVIDIA-L4", 23034, 1), {"nvidia.com/gpu": 1}, is_ready=False)
BROKEN = node(
    "broken",
    discovered("NVIDIA-L40S", 46068, 8),
    {"nvidia.com/gpu": 7},
    capacity={"nvidia.com/gpu": 8},
)
NO_GPU = node("plain", {"node.kubernetes.io/instance-type": "m7i.xlarge"})

ALL = (
    BARE_METAL,
    GKE,
    GKE_SLICES,
    GKE_SHARED,
    EKS,
    EKS_AUTO,
    EKS_PLAIN,
    FROM_ZERO,
    AKS,
    AKS_PLAIN,
    MIG_SINGLE,
    MIG_MIXED,
    SHARED,
    SHARED_RENAMED,
    UNKNOWN,
    CORDONED,
    LOST,
    BROKEN,
    NO_GPU,
)
