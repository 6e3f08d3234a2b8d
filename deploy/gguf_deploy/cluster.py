"""Asks a Kubernetes cluster what its nodes have, and how much of it is free."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf_deploy.node import Json, Node, read_node, used_by_node
from gguf_server.errors import ClusterError, ClusterForbids, ClusterUnreachable

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api
    from kubernetes.client.exceptions import ApiException

FREE_IS_UNKNOWN = (
    "how many are free is not known: you may not list pods in all namespaces; ask for a cluster"
    " role with the verb list on pods"
)

_PAGE = 500  # as kubectl
_BOUND_AND_LIVE = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
_UNAUTHORIZED, _FORBIDDEN, _GONE = 401, 403, 410
_ANONYMOUS = "system:anonymous"
_CONNECTION = re.compile(r"HTTPS?Connection(Pool)?\([^)]*\): ")  # says the address once more
_LONGEST = 200  # letters of what somebody else says


class _Expired(Exception):
    """A list changed too much while it was read page by page."""


def nodes(context: str = "", *, kubeconfig: str = "", timeout_seconds: float = 30.0) -> list[Node]:
    """All of them, those without a GPU too. Without ``kubeconfig``, a file, it is the usual one,
    and inside a pod its account. ``timeout_seconds`` is the longest silence.

    Raises ``ClusterUnreachable`` and ``ClusterForbids``. Where pods may not be listed, ``free`` is
    None, and ``FREE_IS_UNKNOWN`` is what to say.
    """
    with _api(context, kubeconfig) as api:
        cluster = _Cluster(str(api.api_client.configuration.host), timeout_seconds)
        listed = cluster.all(api.list_node, "nodes")
        used = _used(cluster, api)
    found = []
    for node in listed:
        of_node = None if used is None else used.get(node["metadata"]["name"], Counter())
        found += read_node(node, of_node)
    return found


def _used(cluster: "_Cluster", api: "CoreV1Api") -> dict[str, Counter[str]] | None:
    try:
        pods = cluster.all(api.list_pod_for_all_namespaces, "pods", field_selector=_BOUND_AND_LIVE)
    except ClusterForbids:
        return None
    return used_by_node(pods)


# --- the way there -----------------------------------------------------------------------------


@contextmanager
def _api(context: str, kubeconfig: str) -> "Iterator[CoreV1Api]":
    """Imports late: it takes a fifth of a second."""
    from kubernetes import client  # noqa: PLC0415

    configuration = client.Configuration()
    configuration.retries = False  # each would be a line on stderr
    _configure(configuration, context, kubeconfig)
    with client.ApiClient(configuration) as connection:
        yield client.CoreV1Api(connection)


def _configure(configuration: Any, context: str, kubeconfig: str) -> None:
    from kubernetes import config  # noqa: PLC0415

    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(Path(kubeconfig).expanduser()) if kubeconfig else None,
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
    except Exception as exc:  # noqa: BLE001  (a broken file makes the loader stumble in many ways)
        if not (context or kubeconfig) and _is_in_pod(configuration):
            return
        file = kubeconfig or config.KUBE_CONFIG_DEFAULT_LOCATION
        wanted = f" with context {context}" if context else ""
        msg = (
            f"there is no way to a cluster in {file}{wanted}: {_brief(exc)}; set KUBECONFIG, or"
            " look at kubectl config get-contexts"
        )
        raise ClusterUnreachable(msg) from None


def _is_in_pod(configuration: Any) -> bool:
    from kubernetes import config  # noqa: PLC0415

    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError):
        return False
    return True


# --- lists -------------------------------------------------------------------------------------


class _Cluster:
    """Reads lists, and says what went wrong where."""

    def __init__(self, host: str, timeout_seconds: float) -> None:
        self._host = host
        self._timeout_seconds = timeout_seconds

    def all(self, ask: Callable[..., Any], what: str, **query: str) -> list[Json]:
        """Page by page; as a whole if the pages no longer fit together."""
        try:
            return self._pages(ask, what, {**query, "limit": _PAGE})
        except _Expired:
            return self._pages(ask, what, query)

    def _pages(self, ask: Callable[..., Any], what: str, query: Mapping[str, Any]) -> list[Json]:
        items: list[Json] = []
        token = ""
        while True:
            page = self._page(ask, what, {**query, "_continue": token} if token else query)
            items += page["items"] or ()  # Go writes an empty list as null
            token = page["metadata"].get("continue") or ""
            if not token:
                return items

    def _page(self, ask: Callable[..., Any], what: str, query: Mapping[str, Any]) -> Json:
        """As it came: the client's own types would refuse what a newer cluster adds."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        patience = (self._timeout_seconds, self._timeout_seconds)
        try:
            answer = ask(**query, _preload_content=False, _request_timeout=patience)
            page = json.loads(answer.data)
        except ApiException as exc:
            if exc.status == _GONE and "_continue" in query:
                raise _Expired from None
            raise self._refusal(exc, what) from None
        except (HTTPError, OSError) as exc:
            raise self._silence(exc) from None
        except ValueError:
            page = None
        if not (isinstance(page, dict) and "items" in page and "metadata" in page):
            msg = f"what answers at {self._host} is no Kubernetes cluster; check the kubeconfig"
            raise ClusterUnreachable(msg)
        return page

    def _silence(self, exc: object) -> ClusterUnreachable:
        return ClusterUnreachable(
            f"the cluster at {self._host} does not answer: {_brief(_CONNECTION.sub('', str(exc)))};"
            " is it running, and is this its address?"
        )

    def _refusal(self, exc: "ApiException", what: str) -> ClusterError:
        if not exc.status:  # how the client wraps errors of TLS
            return self._silence(exc.reason)
        if exc.status == _UNAUTHORIZED or (exc.status == _FORBIDDEN and _ANONYMOUS in _said(exc)):
            return ClusterForbids(
                f"the cluster at {self._host} does not know who you are ({exc.status}); log in"
                " again, or check the user in the kubeconfig"
            )
        if exc.status == _FORBIDDEN:
            return ClusterForbids(
                f"you may not list {what} of the cluster at {self._host} ({_said(exc)}); ask for a"
                " cluster role with the verb list on nodes and pods"
            )
        return ClusterUnreachable(
            f"the cluster at {self._host} does not list its {what}: {exc.status} {_said(exc)};"
            " try again"
        )


def _said(exc: "ApiException") -> str:
    """The server's own words."""
    try:
        message = json.loads(exc.body or "")["message"]
    except (ValueError, TypeError, KeyError):
        message = exc.reason
    return _brief(message)


def _brief(text: object) -> str:
    """On one line."""
    words = " ".join(str(text).split())
    return words if len(words) <= _LONGEST else words[:_LONGEST] + "..."
