"""What one node of a Kubernetes cluster offers, from its labels and its resources. Pure.

Whoever labels tells it another way: NVIDIA's GPU feature discovery (the only one that asks the
driver), Karpenter and EKS, GKE, AKS; and the machine type, where there is nothing else. A node that
was just made for a waiting pod has no labels of NVIDIA's yet.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from gguf_deploy.cluster import Json
from gguf_deploy.hardware import GPUS, Gpu, by_product

GPU_RESOURCE = "nvidia.com/gpu"

_MIG_RESOURCE = "nvidia.com/mig-"
_SHARED = ".shared"  # time-slicing may rename what it shares
_MIB = 1024**2
_GIB = 1024**3
_NO_MIB = 10_000_000  # a label this large is in bytes: NVIDIA/gpu-feature-discovery#26
_WHOLE = 0.9  # of the catalogue's memory; labels of clouds round
_SLICE = 7 / 8  # 1g.18gb of an H200 has 16.0 GiB; others have more of what their name says

_QUANTITY = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>|[kMGT]|[KMGT]i)")
_UNITS = {
    "": 1,
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "Ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    "Ti": 1024**4,
}

_GKE = "cloud.google.com/gke-accelerator"
_GKE_SLICE = "cloud.google.com/gke-gpu-partition-size"
_GKE_SHARERS = "cloud.google.com/gke-max-shared-clients-per-gpu"
_AWS = ("karpenter.k8s.aws/instance-gpu", "eks.amazonaws.com/instance-gpu")
_AZURE = "karpenter.azure.com/sku-gpu-name"
_MACHINE = "node.kubernetes.io/instance-type"
_AZURE_PART = re.compile(r"Standard_NV(\d+)adm?s_A10_v5")
_AZURE_WHOLE_CPUS = 36  # of a size with one whole A10; those with fewer have as much less of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``count`` and ``free`` are units of ``resource``, and ``memory_bytes`` is that of one unit;
    ``free`` is None where pods may not be listed. ``sharers`` take turns on one GPU, each counted
    as a unit. ``is_part`` is less than a GPU: a slice, or what a cloud cut off. ``gpu_label`` is
    what the cluster calls it. ``host_bytes`` is the memory that pods may have, all together.
    ``why`` says what is special; empty if nothing is.
    """

    name: str
    gpu: Gpu | None
    gpu_label: str
    memory_bytes: int | None
    count: int
    free: int | None
    taints: tuple[str, ...]
    ready: bool
    why: str
    host_bytes: int
    resource: str = GPU_RESOURCE
    sharers: int = 1
    is_part: bool = False

    @property
    def is_whole(self) -> bool:
        """Is a unit one GPU of the catalogue, with nobody else on it?"""
        return self.gpu is not None and self.sharers == 1 and not self.is_part


@dataclass(frozen=True, slots=True)
class _Unit:
    """What the labels say about one unit of a resource."""

    gpu: Gpu | None = None
    label: str = ""
    memory_bytes: int | None = None
    sharers: int = 1
    is_part: bool = False
    trouble: str = ""


def read_nodes(nodes: Iterable[Json], used: Mapping[str, Mapping[str, int]] | None) -> list[Node]:
    """``used`` is by node what ``read_node`` takes."""
    found = []
    for node in nodes:
        of_node = None if used is None else used.get(node["metadata"]["name"], {})
        found += read_node(node, of_node)
    return found


def read_node(node: Json, used: Mapping[str, int] | None) -> list[Node]:
    """Mostly one; one for each size of slice where a node has several.

    ``used`` are the units of each resource that pods on it requested; None if that is not known.
    """
    allocatable = _counts(node, "allocatable")
    names = sorted(name for name, count in allocatable.items() if count)
    return [_offer(node, name, used) for name in names or [GPU_RESOURCE]]


def _offer(node: Json, resource: str, used: Mapping[str, int] | None) -> Node:
    unit = _unit(node["metadata"].get("labels") or {}, resource)
    count = _counts(node, "allocatable").get(resource, 0)
    broken = max(0, _counts(node, "capacity").get(resource, 0) - count)
    unready = _unready(node)
    return Node(
        name=str(node["metadata"]["name"]),
        gpu=unit.gpu,
        gpu_label=unit.label,
        memory_bytes=unit.memory_bytes,
        count=count,
        free=None if used is None else max(0, count - used.get(resource, 0)),
        taints=_taints(node),
        ready=not unready,
        host_bytes=_host_bytes(node),
        why="; ".join(part for part in (unready, *_special(unit, count, broken)) if part),
        resource=resource,
        sharers=unit.sharers,
        is_part=unit.is_part,
    )


def used_by_node(pods: Iterable[Json]) -> dict[str, Counter[str]]:
    """Units of NVIDIA's resources that pods request, by the node that they are bound to."""
    used: dict[str, Counter[str]] = {}
    for pod in pods:
        name = pod["spec"].get("nodeName")
        if name and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            used.setdefault(name, Counter()).update(pod_units(pod))
    return used


def pod_units(pod: Json) -> Counter[str]:
    """As the scheduler counts: what runs together is added up, what runs before it is not."""
    together: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in pod["spec"].get("initContainers") or ():
        needed = _requests(container)
        if container.get("restartPolicy") == "Always":  # a sidecar stays
            together += needed
            needed = Counter()
        peak |= together + needed
    for container in pod["spec"].get("containers") or ():
        together += _requests(container)
    return peak | together


# --- resources ---------------------------------------------------------------------------------


def _requests(container: Json) -> Counter[str]:
    resources = container.get("resources") or {}
    return Counter(_units({**(resources.get("limits") or {}), **(resources.get("requests") or {})}))


def _counts(node: Json, field: str) -> dict[str, int]:
    return _units((node.get("status") or {}).get(field) or {})


def _units(quantities: Mapping[str, str]) -> dict[str, int]:
    return {
        name: _number(quantity)
        for name, quantity in quantities.items()
        if name.removesuffix(_SHARED) == GPU_RESOURCE or name.startswith(_MIG_RESOURCE)
    }


def _number(text: object) -> int:
    """Of a label or a quantity; 0 for what is none."""
    return int(str(text)) if re.fullmatch(r"\d{1,18}", str(text)) else 0


# --- labels ------------------------------------------------------------------------------------


def _host_bytes(node: Json) -> int:
    """Kubernetes writes ``12659Mi``, and may write ``12G`` or a plain number."""
    text = str((node["status"].get("allocatable") or {}).get("memory", ""))
    found = _QUANTITY.fullmatch(text)
    return int(float(found["number"]) * _UNITS[found["unit"]]) if found else 0


def _unit(labels: Mapping[str, str], resource: str) -> _Unit:
    resource = resource.removesuffix(_SHARED)
    told = _by_discovery(labels, resource)
    if told is None and resource.startswith(_MIG_RESOURCE):
        whole, slice_name = _unit(labels, GPU_RESOURCE), resource.removeprefix(_MIG_RESOURCE)
        label = f"{whole.label} {slice_name}".strip()
        return replace(whole, label=label, memory_bytes=_slice_bytes(slice_name), is_part=True)
    return (
        told
        or _by_aws(labels)
        or _by_gke(labels)
        or _by_azure(labels)
        or _by_machine(labels)
        or _Unit()
    )


def _by_discovery(labels: Mapping[str, str], resource: str) -> _Unit | None:
    """``NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED``: the driver's name, the slice, and whether pods
    take turns. The memory is that of the slice.
    """
    label = labels.get(f"{resource}.product", "")
    if not label:
        return None
    model, _, slice_name = label.partition("-MIG-")
    gpu = by_product(model)
    mib = _number(labels.get(f"{resource}.memory"))
    num_bytes = (mib if mib > _NO_MIB else mib * _MIB) or None
    trouble = "its MIG slices are not alike, which MIG strategy single does not allow"
    if num_bytes is None and not slice_name and gpu:
        num_bytes = gpu.memory_bytes
    return _Unit(
        gpu,
        label,
        num_bytes,
        max(_number(labels.get(f"{resource}.replicas")), 2 if label.endswith("-SHARED") else 1),
        bool(slice_name) or _is_less(num_bytes, gpu),
        trouble if slice_name == "INVALID" else "",
    )


def _by_aws(labels: Mapping[str, str]) -> _Unit | None:
    """Karpenter and EKS label the memory that EC2 tells, which is not what the driver reports."""
    for prefix in _AWS:
        label = labels.get(f"{prefix}-name", "")
        if label and labels.get(f"{prefix}-manufacturer", "nvidia") == "nvidia":
            told = _number(labels.get(f"{prefix}-memory")) * _MIB or None
            fitting = [gpu for gpu in GPUS if label in gpu.karpenter]
            gpu = min(fitting, key=lambda each: abs(each.memory_bytes - (told or 0)), default=None)
            is_part = _is_less(told, gpu)
            return _Unit(gpu, label, gpu.memory_bytes if gpu and not is_part else told, 1, is_part)
    return None


def _by_gke(labels: Mapping[str, str]) -> _Unit | None:
    label = labels.get(_GKE, "")
    if not label:
        return None
    gpu = next((each for each in GPUS if label in each.gke), None)
    num_bytes = gpu.memory_bytes if gpu else None
    slice_name = labels.get(_GKE_SLICE, "")
    if slice_name:
        label = f"{label} {slice_name}"
        num_bytes = _slice_bytes(slice_name)
    return _Unit(gpu, label, num_bytes, max(1, _number(labels.get(_GKE_SHARERS))), bool(slice_name))


def _by_azure(labels: Mapping[str, str]) -> _Unit | None:
    label = labels.get(_AZURE, "")
    gpu = next((each for each in GPUS if label in each.aks), None)
    return _whole_or_part(gpu, label, labels.get(_MACHINE, "")) if label else None


def _by_machine(labels: Mapping[str, str]) -> _Unit | None:
    machine = labels.get(_MACHINE, "")
    for gpu in GPUS:
        if any(fnmatchcase(machine, pattern) for pattern in gpu.machines):
            return _whole_or_part(gpu, machine, machine)
    return None


def _whole_or_part(gpu: Gpu | None, label: str, machine: str) -> _Unit:
    """Azure sells an A10 in parts, too."""
    part = _AZURE_PART.fullmatch(machine)
    if not (gpu and part and int(part[1]) < _AZURE_WHOLE_CPUS):
        return _Unit(gpu, label, gpu.memory_bytes if gpu else None)
    num_bytes = gpu.memory_bytes * int(part[1]) // _AZURE_WHOLE_CPUS
    return _Unit(gpu, label, num_bytes, is_part=True)


def _is_less(num_bytes: int | None, gpu: Gpu | None) -> bool:
    return bool(num_bytes and gpu and num_bytes < _WHOLE * gpu.memory_bytes)


def _slice_bytes(slice_name: str) -> int | None:
    """``1g.18gb``: at least. Only NVIDIA's feature discovery knows it exactly."""
    found = re.search(r"\.(\d+)gb", slice_name)
    return int(int(found[1]) * _GIB * _SLICE) if found else None


# --- words -------------------------------------------------------------------------------------


def _special(unit: _Unit, count: int, broken: int) -> Iterator[str]:
    yield unit.trouble
    if not (count or unit.label):
        yield "no NVIDIA GPU"
    elif not count:
        yield "its GPUs are not allocatable; NVIDIA's device plugin does not run there, or not yet"
    elif not unit.label:
        yield "no label says which GPU; install NVIDIA's GPU feature discovery"
    elif unit.gpu is None:
        yield "not in the catalogue"
    if broken:
        yield f"{broken} of {count + broken} cannot be used"
    if unit.is_part:
        yield f"less than one {unit.gpu.name if unit.gpu else 'GPU'}"
    if unit.sharers > 1:
        yield f"{unit.sharers} pods share one GPU and its memory"


def _unready(node: Json) -> str:
    """Why no pod will start there; empty if one can."""
    if node.get("spec", {}).get("unschedulable"):
        return "cordoned"
    conditions = (node.get("status") or {}).get("conditions") or ()
    state: Json = next((each for each in conditions if each["type"] == "Ready"), {})
    if state.get("status") == "True":
        return ""
    return f"not ready ({state['reason']})" if state.get("reason") else "not ready"


def _taints(node: Json) -> tuple[str, ...]:
    """As ``kubectl taint`` takes them: ``nvidia.com/gpu=present:NoSchedule``."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return tuple(
        f"{each['key']}{'=' + each['value'] if each.get('value') else ''}:{each['effect']}"
        for each in taints
    )
