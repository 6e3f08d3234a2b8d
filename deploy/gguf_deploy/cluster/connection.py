"""The way to a Kubernetes API server: what is asked, as it came, and errors as one line."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from gguf_deploy.cluster import Json
from gguf_server.errors import (
    ClusterError,
    ClusterForbids,
    ClusterRefuses,
    ClusterUnreachable,
)

_PAGE = 500  # as kubectl
_OK = 200
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _GONE = 401, 403, 404, 409, 410
_INVALID = (400, 409, 422)
_POD_SECONDS = 10.0  # the longest silence of one pod; others wait for it
_SILENCE = 504  # as a gateway says it
_ANONYMOUS = "system:anonymous"
_CONNECTION = re.compile(r"HTTPS?Connection(Pool)?\([^)]*\): ")  # says the address once more
_LONGEST = 200  # letters of what somebody else says
_LONGEST_REFUSAL = 600
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

# Of each kind: its API, how the client lists it in one namespace and in all.
_LISTS = {
    "nodes": (client.CoreV1Api, "", "list_node"),
    "pods": (client.CoreV1Api, "list_namespaced_pod", "list_pod_for_all_namespaces"),
    "events": (client.CoreV1Api, "list_namespaced_event", ""),
    "deployments": (client.AppsV1Api, "list_namespaced_deployment", ""),
    "replicasets": (client.AppsV1Api, "list_namespaced_replica_set", ""),
    "horizontalpodautoscalers": (
        client.AutoscalingV2Api,
        "list_namespaced_horizontal_pod_autoscaler",
        "",
    ),
    "poddisruptionbudgets": (client.PolicyV1Api, "list_namespaced_pod_disruption_budget", ""),
}


class _Expired(Exception):
    """A list changed too much while it was read page by page."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a server inside a pod."""

    status: int
    body: bytes


@contextmanager
def connect(
    context: str = "", *, kubeconfig: str = "", timeout_seconds: float = 30.0
) -> "Iterator[Connection]":
    """Without ``kubeconfig``, a file, it is the usual one, and inside a pod its account.
    ``timeout_seconds`` is the longest silence. Raises ``ClusterUnreachable``.
    """
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the kubeconfig wants it
    configuration = client.Configuration()
    configuration.retries = False  # each would be a line on stderr
    configuration.safe_chars_for_path_param = "/"  # paths inside of pods
    namespace = _configure(configuration, context, kubeconfig)
    with client.ApiClient(configuration) as api:
        yield Connection(api, namespace, timeout_seconds)


class Connection:
    """Reads and writes, and says what went wrong where. ``namespace`` is the usual one."""

    def __init__(self, api: client.ApiClient, namespace: str, timeout_seconds: float) -> None:
        self._api = api
        self._host = str(api.configuration.host)
        self._patience = (timeout_seconds, timeout_seconds)
        self.namespace = namespace

    def all(self, kind: str, namespace: str = "", **query: str) -> list[Json]:
        """Page by page; as a whole if the pages no longer fit together. No namespace is all.

        Raises ``ClusterUnreachable`` and ``ClusterForbids``.
        """
        api, in_one, in_all = _LISTS[kind]
        ask = getattr(api(self._api), in_one if namespace else in_all)
        where = {"namespace": namespace} if namespace else {}
        try:
            return self._pages(ask, kind, {**where, **query, "limit": _PAGE})
        except _Expired:
            return self._pages(ask, kind, {**where, **query})

    def deployment(self, namespace: str, name: str) -> Json | None:
        """None where there is none."""
        ask = client.AppsV1Api(self._api).read_namespaced_deployment
        try:
            return self._object(ask, name=name, namespace=namespace)
        except ApiException as exc:
            if exc.status == _NOT_FOUND:
                return None
            raise self._refusal(exc, "get", "deployments", namespace) from None

    def patch_deployment(
        self, namespace: str, name: str, patch: Sequence[Json], manager: str
    ) -> Json:
        """A JSON patch; ``manager`` is whom the cluster names as who did it.

        Raises ``ClusterRefuses`` with the server's own words.
        """
        ask = client.AppsV1Api(self._api).patch_namespaced_deployment
        where = {"name": name, "namespace": namespace}
        try:
            return self._object(ask, **where, body=list(patch), field_manager=manager)
        except ApiException as exc:
            if exc.status in _INVALID:
                changed = "it was changed at the same time; try again"
                why = changed if exc.status == _CONFLICT else _said(exc, _LONGEST_REFUSAL)
                msg = f"the cluster refuses to change deployment {name}: {why}"
                raise ClusterRefuses(msg) from None
            raise self._refusal(exc, "patch", "deployments", namespace) from None

    def ask_pod(self, namespace: str, pod: str, path: str) -> Answer:
        """GET through the API server, which reaches what is not ready too.

        ``pod`` is ``name:port`` or ``https:name:port``. An answer of the API server itself, such as
        that nothing listens there, is an answer too, and so is silence.
        """
        ask = client.CoreV1Api(self._api).connect_get_namespaced_pod_proxy_with_path
        where = {
            "name": pod,
            "namespace": namespace,
            "path": path.lstrip("/"),
            "_request_timeout": tuple(min(_POD_SECONDS, each) for each in self._patience),
        }
        try:
            return self._answer(ask, ("get", "pods/proxy"), namespace, where)
        except ClusterUnreachable:
            return Answer(_SILENCE, b"")

    def log(
        self, namespace: str, pod: str, container: str, *, lines: int, previous: bool = False
    ) -> str:
        """The last lines; empty if there is no log."""
        ask = client.CoreV1Api(self._api).read_namespaced_pod_log
        where = {"name": pod, "namespace": namespace, "container": container}
        query = {**where, "tail_lines": lines, "previous": previous}
        answer = self._answer(ask, ("get", "pods/log"), namespace, query)
        return answer.body.decode(errors="replace") if answer.status == _OK else ""

    # --- one request ---------------------------------------------------------------------------

    def _answer(
        self, ask: Callable[..., Any], right: tuple[str, str], namespace: str, query: Json
    ) -> Answer:
        try:
            return Answer(_OK, self._bytes(ask, query))
        except ApiException as exc:
            if not exc.status or _is_of_cluster(exc):
                raise self._refusal(exc, *right, namespace) from None
            body = exc.body or b""
            return Answer(exc.status, body.encode() if isinstance(body, str) else body)

    def _pages(self, ask: Callable[..., Any], kind: str, query: Json) -> list[Json]:
        items: list[Json] = []
        token = ""
        while True:
            page = self._page(ask, kind, {**query, "_continue": token} if token else query)
            items += page["items"] or ()  # Go writes an empty list as null
            token = page["metadata"].get("continue") or ""
            if not token:
                return items

    def _page(self, ask: Callable[..., Any], kind: str, query: Json) -> Json:
        try:
            page = self._object(ask, **query)
        except ApiException as exc:
            if exc.status == _GONE and "_continue" in query:
                raise _Expired from None
            raise self._refusal(exc, "list", kind, query.get("namespace", "")) from None
        if "items" not in page:
            raise self._stranger()
        return page

    def _object(self, ask: Callable[..., Any], **query: Any) -> Json:
        """As it came: the client's own types would refuse what a newer cluster adds."""
        try:
            found = json.loads(self._bytes(ask, query))
        except ValueError:
            found = None
        if not (isinstance(found, dict) and "metadata" in found):
            raise self._stranger()
        return found

    def _bytes(self, ask: Callable[..., Any], query: Json) -> bytes:
        try:
            answer = ask(**{"_request_timeout": self._patience, **query}, _preload_content=False)
            return bytes(answer.data)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise self._silence(exc) from None

    # --- words ---------------------------------------------------------------------------------

    def _stranger(self) -> ClusterUnreachable:
        msg = f"what answers at {self._host} is no Kubernetes cluster; check the kubeconfig"
        return ClusterUnreachable(msg)

    def _silence(self, exc: object) -> ClusterUnreachable:
        return ClusterUnreachable(
            f"the cluster at {self._host} does not answer: {_brief(_CONNECTION.sub('', str(exc)))};"
            " is it running, and is this its address?"
        )

    def _refusal(
        self, exc: ApiException, verb: str, kind: str, namespace: str = ""
    ) -> ClusterError:
        if not exc.status:  # how the client wraps errors of TLS
            return self._silence(exc.reason)
        if exc.status == _UNAUTHORIZED or (exc.status == _FORBIDDEN and _ANONYMOUS in _said(exc)):
            return ClusterForbids(
                f"the cluster at {self._host} does not know who you are ({exc.status}); log in"
                " again, or check the user in the kubeconfig"
            )
        if exc.status == _FORBIDDEN:
            where = f" in namespace {namespace}" if namespace else ""
            role = "role" if namespace else "cluster role"
            return ClusterForbids(
                f"you may not {verb} {kind}{where} of the cluster at {self._host} ({_said(exc)});"
                f" ask for a {role} with the verb {verb} on {kind}"
            )
        return ClusterUnreachable(
            f"the cluster at {self._host} does not {verb} its {kind}: {exc.status} {_said(exc)};"
            " try again"
        )


# --- the way there -----------------------------------------------------------------------------


def _configure(configuration: Any, context: str, kubeconfig: str) -> str:
    """Also tells the namespace that the context names."""
    file = str(Path(kubeconfig).expanduser()) if kubeconfig else None
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            file,
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
        return _namespace(config.list_kube_config_contexts(file), context)  # type: ignore[no-untyped-call]
    except Exception as exc:  # noqa: BLE001  (a broken file makes the loader stumble in many ways)
        if not (context or kubeconfig) and _is_in_pod(configuration):
            return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.exists() else "default"
        file = kubeconfig or config.KUBE_CONFIG_DEFAULT_LOCATION
        wanted = f" with context {context}" if context else ""
        msg = (
            f"there is no way to a cluster in {file}{wanted}: {_brief(exc)}; set KUBECONFIG, or"
            " look at kubectl config get-contexts"
        )
        raise ClusterUnreachable(msg) from None


def _namespace(contexts: tuple[list[Json], Json], context: str) -> str:
    every, current = contexts
    chosen = next((each for each in every if each["name"] == context), current)
    return chosen["context"].get("namespace") or "default"


def _is_in_pod(configuration: Any) -> bool:
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError):
        return False
    return True


# --- what somebody else says -------------------------------------------------------------------


def _is_of_cluster(exc: ApiException) -> bool:
    """A refusal of the API server, not an answer of what is behind it."""
    if exc.status not in (_UNAUTHORIZED, _FORBIDDEN):
        return False
    try:
        return bool(json.loads(exc.body or "").get("kind") == "Status")
    except (ValueError, AttributeError):
        return False


def _said(exc: ApiException, longest: int = _LONGEST) -> str:
    """The server's own words."""
    try:
        message = json.loads(exc.body or "")["message"]
    except (ValueError, TypeError, KeyError):
        message = exc.reason
    return _brief(message, longest)


def _brief(text: object, longest: int = _LONGEST) -> str:
    """On one line."""
    words = " ".join(str(text).split())
    return words if len(words) <= longest else words[:longest] + "..."
