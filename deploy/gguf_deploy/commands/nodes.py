"""``gguf-deploy nodes``: the GPUs of the current Kubernetes cluster."""

import json
from collections.abc import Sequence

from gguf_deploy.cluster import inventory
from gguf_deploy.cluster.inventory import FREE_IS_UNKNOWN
from gguf_deploy.cluster.node import Node
from gguf_deploy.cluster.resources import GPU_RESOURCE
from gguf_deploy.settings import NodesSettings
from gguf_server.models.sizes import gibibytes
from gguf_server.tables import show, table


def nodes(settings: NodesSettings) -> None:
    """Raises ``ClusterUnreachable`` and ``ClusterForbids``."""
    found = inventory.nodes(settings.kube_context, kubeconfig=settings.kubeconfig)
    if settings.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        show(lines(found))


def lines(found: Sequence[Node]) -> list[str]:
    """For people; nodes without a GPU are only counted."""
    with_gpu = [node for node in found if _has_gpu(node)]
    others = len(found) - len(with_gpu)
    if not found:
        return ["The cluster has no nodes."]
    if not with_gpu:
        return [f"No node of the cluster has an NVIDIA GPU; it has {others}."]
    heads = ("NODE", "GPU", "MEMORY", "FREE", "OF", "TAINTS", "")
    said = table(heads, [_cells(node) for node in with_gpu])
    if others:
        said.append(f"{others} more {'nodes have' if others > 1 else 'node has'} no GPU.")
    return [*said, *warnings(found)]


def as_json(found: Sequence[Node]) -> dict[str, object]:
    """For scripts: all nodes. ``free`` is null where it is not known."""
    return {
        "nodes": [
            {
                "name": node.name,
                "gpu": node.gpu.name if node.gpu else None,
                "gpu_label": node.gpu_label,
                "memory_bytes": node.memory_bytes,
                "resource": node.resource,
                "count": node.count,
                "free": node.free,
                "sharers": node.sharers,
                "whole": node.is_whole,
                "taints": list(node.taints),
                "ready": node.ready,
                "why": node.why,
            }
            for node in found
        ],
        "warnings": warnings(found),
    }


def warnings(found: Sequence[Node]) -> list[str]:
    return [FREE_IS_UNKNOWN] if any(node.free is None for node in found) else []


def _has_gpu(node: Node) -> bool:
    return bool(node.count or node.gpu_label)


def _cells(node: Node) -> tuple[str, ...]:
    name = node.gpu.name if node.gpu and not node.is_part else node.gpu_label
    resource = "" if node.resource == GPU_RESOURCE else f" ({node.resource})"
    return (
        node.name,
        (name or "?") + resource,
        gibibytes(node.memory_bytes) if node.memory_bytes else "?",
        "?" if node.free is None else str(node.free),
        str(node.count),
        ", ".join(node.taints) or "-",
        node.why,
    )
