"""Why no node takes a pod, in plain words: by the GPUs that there are, else the scheduler's. Pure.

The scheduler says ``0/3 nodes are available: 1 Insufficient nvidia.com/gpu, ...``. It does not say
which GPU would do, nor who has it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gguf_deploy.cluster import Json
from gguf_deploy.cluster.node import Node
from gguf_deploy.cluster.resources import pod_units
from gguf_deploy.cluster.workload import Pod
from gguf_server.models.sizes import gibibytes

_MIB = 1 << 20
_MANY = 3  # names of a list

_COUNTS = re.compile(r"^\d+/(?P<all>\d+) nodes are available: ", re.IGNORECASE)
_REST = re.compile(r"\.? *(preemption: .*|no new claims to deallocate.*)$", re.IGNORECASE)
_ABOUT_GPUS = re.compile(r"\d+ Insufficient nvidia\.com/\S+")
# What the scheduler's plugins say, and what it is.
_WORDS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (
            r"(\d+) Insufficient (?!nvidia\.com/)(\S+?)[,.]?(?= \d|$)",
            "{0} have too little {1} free",
        ),
        (
            r"(\d+) node\(s\) had untolerated taint\(?s?\)?(?: \{([^}]*)\})?",
            "{0} have a taint ({1}) that it does not tolerate",
        ),
        (
            r"(\d+) node\(s\) didn't match Pod's node affinity/selector",
            "{0} have not the labels that it asks for",
        ),
        (r"(\d+) node\(s\) were unschedulable", "{0} are cordoned"),
        (
            r"pod has unbound immediate PersistentVolumeClaims",
            "its volume claim is not bound: is there a storage class that can make the volume?",
        ),
        (r'persistentvolumeclaim "([^"]+)" not found', "there is no volume claim {0}"),
        (
            r'persistentvolumeclaim "([^"]+)" bound to non-existent persistentvolume',
            "the volume of claim {0} is gone",
        ),
        (
            r"(\d+) node\(s\) had volume node affinity conflict",
            "{0} cannot reach its volume, which is on another node or in another zone",
        ),
        (
            r"(\d+) node\(s\) didn't match pod affinity rules",
            "{0} are not the one where its volume is in use, by a pod that it has to meet",
        ),
        (
            r"(\d+) node\(s\) didn't find available persistent volumes to bind",
            "{0} have no volume for its claim",
        ),
        (
            r"(\d+) node\(s\) unavailable due to .*ReadWriteOncePod",
            "another pod has its volume, which takes one at a time",
        ),
        (r"(\d+) cannot allocate all claims", "{0} have no device that its claim asks for"),
        (r"(\d+) Too many pods", "{0} have as many pods as they may"),
        (
            r"(\d+) node\(s\) didn't match pod topology spread constraints",
            "{0} would spread its pods unevenly",
        ),
        (
            r"(\d+) node\(s\) didn't (?:satisfy|match) (?:existing )?pod(?:s)? anti-affinity rules",
            "{0} have a pod that it must not meet",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Gpus:
    """Those of the cluster, and who has them: pods as ``namespace/name`` by node."""

    nodes: Sequence[Node]
    takers: Mapping[str, Sequence[str]]


def takers(pods: Iterable[Json]) -> dict[str, list[str]]:
    """Pods that have a GPU, by the node that they are bound to."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        node = pod["spec"].get("nodeName")
        if node and any(pod_units(pod).values()):
            metadata = pod["metadata"]
            found.setdefault(node, []).append(f"{metadata['namespace']}/{metadata['name']}")
    return found


def why_pending(pod: Pod, gpus: Gpus | None) -> str:
    """One line. ``gpus`` is None where they may not be listed."""
    said = plain(pod.unscheduled.message) if pod.unscheduled else ""
    units = pod_units(pod.document)
    if not units or gpus is None:
        return said or "nobody has looked for a node yet; is the scheduler running?"
    [(resource, count)] = units.most_common(1)
    about_gpus = _about_gpus(_Need(resource, count, pod.gpu_bytes), gpus)
    return "; ".join(part for part in (about_gpus, said) if part)


@dataclass(frozen=True, slots=True)
class _Need:
    resource: str
    count: int
    num_bytes: int  # of each; 0 if not known

    @property
    def words(self) -> str:
        size = f"{gibibytes(self.num_bytes)} on each of " if self.num_bytes else ""
        return f"needs {size}{self.count} {self.resource.partition('/')[2].upper()}"

    def holds(self, node: Node) -> bool:
        """Is one unit large enough? A node that does not tell may be."""
        return node.memory_bytes is None or node.memory_bytes >= self.num_bytes


def _about_gpus(need: _Need, gpus: Gpus) -> str:
    having = [node for node in gpus.nodes if node.resource == need.resource and node.count]
    if not having:
        return f"{need.words}; no node has one"
    large = [node for node in having if need.holds(node)]
    if not large:
        biggest = max(having, key=_size)
        return f"{need.words}; the largest is {_mib(biggest)} on node {biggest.name}"
    enough = [node for node in large if node.count >= need.count]
    if not enough:
        most = max(large, key=lambda node: node.count)
        return f"{need.words} in one node; the most is {most.count} on node {most.name}"
    free = [node for node in enough if node.free is None or node.free >= need.count]
    if not free:
        return f"{need.words}; {_largest_free(having)}; {_taken(enough, gpus)}"
    unready = "; ".join(f"node {node.name} is {node.why}" for node in free if not node.ready)
    return f"{need.words}; {unready}" if unready else f"{need.words}, free on {_names(free)}"


def _largest_free(having: Sequence[Node]) -> str:
    free = [node for node in having if node.free]
    if not free:
        return "none is free"
    biggest = max(free, key=_size)
    return f"the largest free one is {_mib(biggest)} on node {biggest.name}"


def _taken(nodes: Sequence[Node], gpus: Gpus) -> str:
    """``taken: 23034 MiB on node x by ns/pod``"""
    told = []
    for node in nodes[:_MANY]:
        owners = gpus.takers.get(node.name, ())
        by = f" by {', '.join(owners[:_MANY])}" if owners else ""
        told.append(f"{_mib(node)} on node {node.name}{by}")
    rest = f" and {len(nodes) - _MANY} more nodes" if len(nodes) > _MANY else ""
    return f"large enough but taken: {'; '.join(told)}{rest}"


def _names(nodes: Sequence[Node]) -> str:
    rest = f" and {len(nodes) - _MANY} more" if len(nodes) > _MANY else ""
    return f"node {', '.join(node.name for node in nodes[:_MANY])}{rest}"


def _size(node: Node) -> int:
    return node.memory_bytes or 0


def _mib(node: Node) -> str:
    return f"{node.memory_bytes // _MIB} MiB" if node.memory_bytes else "a GPU of unknown size"


# --- the scheduler's own words -----------------------------------------------------------------


def plain(message: str) -> str:
    """What is understood of it, translated; else as it is, without what repeats."""
    counts = _COUNTS.match(message)
    reasons = _REST.sub("", message[counts.end() :] if counts else message)
    found = []
    for pattern, words in _WORDS:
        found += [
            words.format(*(group or "?" for group in each.groups()))
            for each in pattern.finditer(reasons)
        ]
        reasons = pattern.sub("", reasons)
    nodes = f" of {counts['all']} nodes" if counts else ""
    told = re.sub(r"^(\d+)", rf"\1{nodes}", ", ".join(found))
    rest = ", ".join(each for each in map(_bare, reasons.split(", ")) if each)
    quoted = f"the scheduler says{' also' if told else ''}: {rest}" if rest else ""
    return "; ".join(part for part in (told, quoted) if part)


def _bare(reason: str) -> str:
    """Empty where it is about GPUs: those are told better."""
    reason = reason.strip(" .,")
    return "" if _ABOUT_GPUS.fullmatch(reason) else reason
