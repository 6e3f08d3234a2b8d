"""NVIDIA's devices as resources of Kubernetes: what a node has, what pods request. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from gguf_deploy.cluster import Json

GPU_RESOURCE = "nvidia.com/gpu"
MIG_RESOURCE = "nvidia.com/mig-"  # and the slice
SHARED = ".shared"  # time-slicing may rename what it shares

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


def units(quantities: Mapping[str, str]) -> dict[str, int]:
    """Of NVIDIA's resources alone."""
    return {
        name: number(quantity)
        for name, quantity in quantities.items()
        if name.removesuffix(SHARED) == GPU_RESOURCE or name.startswith(MIG_RESOURCE)
    }


def host_bytes(quantities: Mapping[str, str]) -> int:
    """Kubernetes writes ``12659Mi``, and may write ``12G`` or a plain number."""
    found = _QUANTITY.fullmatch(str(quantities.get("memory", "")))
    return int(float(found["number"]) * _UNITS[found["unit"]]) if found else 0


def number(text: object) -> int:
    """Of a label or a quantity; 0 for what is none."""
    return int(str(text)) if re.fullmatch(r"\d{1,18}", str(text)) else 0


def _requests(container: Json) -> Counter[str]:
    resources = container.get("resources") or {}
    return Counter(units({**(resources.get("limits") or {}), **(resources.get("requests") or {})}))
