"""What one node of a Kubernetes cluster offers, from its labels and its resources. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gguf_deploy.cluster import Json
from gguf_deploy.cluster.labels import Unit, unit_of
from gguf_deploy.cluster.resources import GPU_RESOURCE, host_bytes, units
from gguf_deploy.hardware import Gpu


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
    unit = unit_of(node["metadata"].get("labels") or {}, resource)
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
        host_bytes=host_bytes(_status(node).get("allocatable") or {}),
        why="; ".join(part for part in (unready, *_special(unit, count, broken)) if part),
        resource=resource,
        sharers=unit.sharers,
        is_part=unit.is_part,
    )


def _counts(node: Json, field: str) -> dict[str, int]:
    return units(_status(node).get(field) or {})


def _status(node: Json) -> Json:
    return node.get("status") or {}


# --- words -------------------------------------------------------------------------------------


def _special(unit: Unit, count: int, broken: int) -> Iterator[str]:
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
    conditions = _status(node).get("conditions") or ()
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
