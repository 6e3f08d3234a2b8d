"""Which GPU a unit of a node's resource is, by the node's labels. Pure.

Whoever labels tells it another way: NVIDIA's GPU feature discovery (the only one that asks the
driver), Karpenter and EKS, GKE, AKS; and the machine type, where there is nothing else. A node that
was just made for a waiting pod has no labels of NVIDIA's yet.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from gguf_deploy.cluster.resources import GPU_RESOURCE, MIG_RESOURCE, SHARED, number
from gguf_deploy.hardware import GPUS, Gpu, by_product

_MIB = 1024**2
_GIB = 1024**3
_NO_MIB = 10_000_000  # a label this large is in bytes: NVIDIA/gpu-feature-discovery#26
_WHOLE = 0.9  # of the catalogue's memory; labels of clouds round
_SLICE = 7 / 8  # 1g.18gb of an H200 has 16.0 GiB; others have more of what their name says
_GKE = "cloud.google.com/gke-accelerator"
_GKE_SLICE = "cloud.google.com/gke-gpu-partition-size"
_GKE_SHARERS = "cloud.google.com/gke-max-shared-clients-per-gpu"
_AWS = ("karpenter.k8s.aws/instance-gpu", "eks.amazonaws.com/instance-gpu")
_AZURE = "karpenter.azure.com/sku-gpu-name"
_MACHINE = "node.kubernetes.io/instance-type"
_AZURE_PART = re.compile(r"Standard_NV(\d+)adm?s_A10_v5")
_AZURE_WHOLE_CPUS = 36  # of a size with one whole A10; those with fewer have as much less of it


@dataclass(frozen=True, slots=True)
class Unit:
    """What the labels say about one unit of a resource."""

    gpu: Gpu | None = None
    label: str = ""
    memory_bytes: int | None = None
    sharers: int = 1
    is_part: bool = False
    trouble: str = ""


def unit_of(labels: Mapping[str, str], resource: str) -> Unit:
    resource = resource.removesuffix(SHARED)
    told = _by_discovery(labels, resource)
    if told is None and resource.startswith(MIG_RESOURCE):
        whole, slice_name = unit_of(labels, GPU_RESOURCE), resource.removeprefix(MIG_RESOURCE)
        label = f"{whole.label} {slice_name}".strip()
        return replace(whole, label=label, memory_bytes=_slice_bytes(slice_name), is_part=True)
    return (
        told
        or _by_aws(labels)
        or _by_gke(labels)
        or _by_azure(labels)
        or _by_machine(labels)
        or Unit()
    )


def _by_discovery(labels: Mapping[str, str], resource: str) -> Unit | None:
    """``NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED``: the driver's name, the slice, and whether pods
    take turns. The memory is that of the slice.
    """
    label = labels.get(f"{resource}.product", "")
    if not label:
        return None
    model, _, slice_name = label.partition("-MIG-")
    gpu = by_product(model)
    mib = number(labels.get(f"{resource}.memory"))
    num_bytes = (mib if mib > _NO_MIB else mib * _MIB) or None
    trouble = "its MIG slices are not alike, which MIG strategy single does not allow"
    if num_bytes is None and not slice_name and gpu:
        num_bytes = gpu.memory_bytes
    return Unit(
        gpu,
        label,
        num_bytes,
        max(number(labels.get(f"{resource}.replicas")), 2 if label.endswith("-SHARED") else 1),
        bool(slice_name) or _is_less(num_bytes, gpu),
        trouble if slice_name == "INVALID" else "",
    )


def _by_aws(labels: Mapping[str, str]) -> Unit | None:
    """Karpenter and EKS label the memory that EC2 tells, which is not what the driver reports."""
    for prefix in _AWS:
        label = labels.get(f"{prefix}-name", "")
        if label and labels.get(f"{prefix}-manufacturer", "nvidia") == "nvidia":
            told = number(labels.get(f"{prefix}-memory")) * _MIB or None
            fitting = [gpu for gpu in GPUS if label in gpu.karpenter]
            gpu = min(fitting, key=lambda each: abs(each.memory_bytes - (told or 0)), default=None)
            is_part = _is_less(told, gpu)
            return Unit(gpu, label, gpu.memory_bytes if gpu and not is_part else told, 1, is_part)
    return None


def _by_gke(labels: Mapping[str, str]) -> Unit | None:
    label = labels.get(_GKE, "")
    if not label:
        return None
    gpu = next((each for each in GPUS if label in each.gke), None)
    num_bytes = gpu.memory_bytes if gpu else None
    slice_name = labels.get(_GKE_SLICE, "")
    if slice_name:
        label = f"{label} {slice_name}"
        num_bytes = _slice_bytes(slice_name)
    return Unit(gpu, label, num_bytes, max(1, number(labels.get(_GKE_SHARERS))), bool(slice_name))


def _by_azure(labels: Mapping[str, str]) -> Unit | None:
    label = labels.get(_AZURE, "")
    gpu = next((each for each in GPUS if label in each.aks), None)
    return _whole_or_part(gpu, label, labels.get(_MACHINE, "")) if label else None


def _by_machine(labels: Mapping[str, str]) -> Unit | None:
    machine = labels.get(_MACHINE, "")
    for gpu in GPUS:
        if any(fnmatchcase(machine, pattern) for pattern in gpu.machines):
            return _whole_or_part(gpu, machine, machine)
    return None


def _whole_or_part(gpu: Gpu | None, label: str, machine: str) -> Unit:
    """Azure sells an A10 in parts, too."""
    part = _AZURE_PART.fullmatch(machine)
    if not (gpu and part and int(part[1]) < _AZURE_WHOLE_CPUS):
        return Unit(gpu, label, gpu.memory_bytes if gpu else None)
    num_bytes = gpu.memory_bytes * int(part[1]) // _AZURE_WHOLE_CPUS
    return Unit(gpu, label, num_bytes, is_part=True)


def _is_less(num_bytes: int | None, gpu: Gpu | None) -> bool:
    return bool(num_bytes and gpu and num_bytes < _WHOLE * gpu.memory_bytes)


def _slice_bytes(slice_name: str) -> int | None:
    """``1g.18gb``: at least. Only NVIDIA's feature discovery knows it exactly."""
    found = re.search(r"\.(\d+)gb", slice_name)
    return int(int(found[1]) * _GIB * _SLICE) if found else None
