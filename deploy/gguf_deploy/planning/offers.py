"""What may be taken: so many of a GPU of the catalogue, or of what a cluster has free."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gguf_deploy.cluster.node import Node
from gguf_deploy.hardware import GPUS, Gpu, find
from gguf_deploy.planning.ask import CPU, Offer
from gguf_server.errors import DoesNotFit

_COUNTS = (1, 2, 4, 8)  # as machines have them


def catalogue_offers(gpus: Sequence[Gpu], names: Sequence[str], max_gpus: int) -> tuple[Offer, ...]:
    """Of all GPUs, or of those that are named; ``cpu`` is none. Raises ``SettingsError``."""
    named = [find(name, gpus) for name in names if name.lower() != CPU]
    has_cpu = len(named) < len(names)
    chosen = named if names else list(gpus)
    counts = [count for count in _COUNTS if count <= max_gpus]
    offers = [Offer(gpu, count) for gpu in chosen for count in counts]
    return _ordered([*([Offer(None, 0)] if has_cpu else []), *offers])


def cluster_offers(gpus: Sequence[Gpu], nodes: Iterable[Node], max_gpus: int) -> tuple[Offer, ...]:
    """Of each GPU as many as one ready node has free. Raises ``DoesNotFit`` where none is known."""
    most: dict[Gpu, int] = {}
    priced = {gpu.name: gpu for gpu in gpus}
    for node in nodes:
        if node.gpu is not None and node.ready and node.is_whole:
            memory_bytes = node.memory_bytes or node.gpu.memory_bytes
            gpu = replace(priced[node.gpu.name], memory_bytes=memory_bytes)
            count = node.count if node.free is None else node.free
            most[gpu] = max(most.get(gpu, 0), min(count, max_gpus))
    offers = [
        Offer(gpu, count)
        for gpu, free in most.items()
        for count in sorted({count for count in _COUNTS if count <= free} | {free})
        if count
    ]
    if not offers:
        msg = "the cluster has no free GPU that we know; see gguf-deploy nodes"
        raise DoesNotFit(msg)
    return _ordered(offers)


def can_run(node: Node, offer: Offer, host_bytes: int = 0) -> bool:
    """Has it so many of this GPU free, and so much memory?"""
    if node.gpu is None or offer.gpu is None or not (node.ready and node.is_whole):
        return False
    count = node.count if node.free is None else node.free
    memory_bytes = node.memory_bytes or node.gpu.memory_bytes
    is_such = node.gpu.name == offer.gpu.name and memory_bytes >= offer.memory_bytes
    return is_such and count >= offer.count and node.host_bytes >= host_bytes


def alternatives(gpus: Iterable[Gpu], memory_bytes: int) -> list[Gpu]:
    """Those of ``gpus`` with so much memory, and of their labels those that no smaller GPU has."""
    unable = [gpu for gpu in GPUS if gpu.memory_bytes < memory_bytes]
    return [
        replace(
            gpu,
            gke=_without(gpu.gke, [other.gke for other in unable]),
            aks=_without(gpu.aks, [other.aks for other in unable]),
        )
        for gpu in dict.fromkeys(gpus)
        if gpu.memory_bytes >= memory_bytes
    ]


def _without(labels: Sequence[str], others: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Of clouds that label no memory; AWS does, and calls both sizes of the A100 by one name."""
    return tuple(label for label in labels if not any(label in each for each in others))


def _ordered(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    return tuple(sorted(offers, key=lambda offer: (offer.memory_bytes, offer.name, offer.count)))
