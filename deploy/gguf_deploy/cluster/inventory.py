"""What the nodes of a Kubernetes cluster have, and how much of it is free."""

from collections import Counter

from gguf_deploy.cluster.connection import Connection, connect
from gguf_deploy.cluster.node import Node, read_nodes
from gguf_deploy.cluster.resources import used_by_node
from gguf_server.errors import ClusterForbids

FREE_IS_UNKNOWN = (
    "how many are free is not known: you may not list pods in all namespaces; ask for a cluster"
    " role with the verb list on pods"
)
BOUND_AND_LIVE = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


def nodes(context: str = "", *, kubeconfig: str = "", timeout_seconds: float = 30.0) -> list[Node]:
    """All of them, those without a GPU too.

    Raises ``ClusterUnreachable`` and ``ClusterForbids``. Where pods may not be listed, ``free`` is
    None, and ``FREE_IS_UNKNOWN`` is what to say.
    """
    with connect(context, kubeconfig=kubeconfig, timeout_seconds=timeout_seconds) as connection:
        listed = connection.all("nodes")
        used = _used(connection)
    return read_nodes(listed, used)


def _used(connection: Connection) -> dict[str, Counter[str]] | None:
    try:
        pods = connection.all("pods", field_selector=BOUND_AND_LIVE)
    except ClusterForbids:
        return None
    return used_by_node(pods)
