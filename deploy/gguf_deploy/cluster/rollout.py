"""Asks a cluster about one Deployment: its revisions, its pods, what they load, what is wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gguf_deploy.cluster import Json
from gguf_deploy.cluster.connection import Connection
from gguf_deploy.cluster.diagnosis import (
    PodReport,
    Verdict,
    examine,
    failed_silently,
    is_fetching,
    is_starting,
    judge,
    that_matter,
)
from gguf_deploy.cluster.inventory import BOUND_AND_LIVE
from gguf_deploy.cluster.loading import Load, last_words, read_fetch_log, read_startupz
from gguf_deploy.cluster.node import read_nodes
from gguf_deploy.cluster.pending import Gpus, takers
from gguf_deploy.cluster.reading import (
    protects,
    read_autoscaler,
    read_budget,
    read_deployment,
    read_event,
    read_pod,
    read_revisions,
    scales,
)
from gguf_deploy.cluster.resources import used_by_node
from gguf_deploy.cluster.workload import (
    FETCH,
    INSTANCE,
    NAME,
    Autoscaler,
    Budget,
    Container,
    Deployment,
    Event,
    Pod,
    Revision,
)
from gguf_server.errors import ClusterForbids, DeploymentNotFound

_T = TypeVar("_T")

_CHART = "gguf-server"
_OK, _UNAUTHORIZED = 200, 401
_LOG_LINES = 20  # a line of progress is not the last one if a warning follows it


@dataclass(frozen=True, slots=True)
class Rollout:
    """A snapshot. ``blind`` are sentences about what may not be seen, each with its right."""

    deployment: Deployment
    revisions: tuple[Revision, ...]
    verdict: Verdict
    pods: tuple[PodReport, ...]
    autoscalers: tuple[Autoscaler, ...]
    budgets: tuple[Budget, ...]
    events: tuple[Event, ...]
    blind: tuple[str, ...]


def find(connection: Connection, name: str, namespace: str) -> Deployment:
    """By its name, or that of its Helm release; without one, the only one of the chart.

    Raises ``DeploymentNotFound``, and what asking raises.
    """
    exact = connection.deployment(namespace, name) if name else None
    if exact is not None:
        return read_deployment(exact)
    label = f"{INSTANCE}={name}" if name else f"{NAME}={_CHART}"
    listed = connection.all("deployments", namespace, label_selector=label)
    found = [read_deployment(each) for each in listed]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.name for each in found)
        msg = f"there are several deployments in namespace {namespace}: {names}; name one"
    elif name:
        msg = (
            f"there is no deployment {name} in namespace {namespace}, nor one of a release of that"
            " name; -n names another namespace"
        )
    else:
        msg = f"there is no {_CHART} in namespace {namespace}; -n names another, NAME a deployment"
    raise DeploymentNotFound(msg)


def again(connection: Connection, deployment: Deployment) -> Deployment:
    """As it is now."""
    found = connection.deployment(deployment.namespace, deployment.name)
    if found is None:
        msg = f"deployment {deployment.name} was deleted from namespace {deployment.namespace}"
        raise DeploymentNotFound(msg)
    return read_deployment(found)


def look(connection: Connection, deployment: Deployment) -> Rollout:
    """All that may be seen of it, as it is now."""
    return _Look(connection, deployment).all()


def silent_pod(connection: Connection, rollout: Rollout) -> str:
    """What a ready pod of the newest revision says that is no answer; empty if all is well.

    Who wants an API key answers, too. Raises ``ClusterForbids``.
    """
    newest = rollout.deployment.revision
    for report in rollout.pods:
        pod, server = report.pod, report.pod.server
        if server is None or not (server.port and pod.is_ready and report.revision == newest):
            continue
        for path in (server.ready_path or "/readyz", "/v1/models"):
            answer = connection.ask_pod(pod.namespace, _proxied(pod, server), path)
            if answer.status not in (_OK, _UNAUTHORIZED):
                return f"{pod.name} answers {path} with {answer.status}"
        return ""
    return ""


class _Look:
    """One look; it gathers what may not be seen."""

    def __init__(self, connection: Connection, deployment: Deployment) -> None:
        self._connection = connection
        self._deployment = deployment
        self._namespace = deployment.namespace
        self._blind: dict[str, None] = {}

    def all(self) -> Rollout:
        deployment = self._deployment
        revisions = read_revisions(self._list("replicasets", _selector(deployment)), deployment)
        numbers = {each.uid: each.number for each in revisions}
        listed = self._list("pods", _selector(deployment))
        pods = [pod for pod in map(read_pod, listed) if pod.owner in numbers or not numbers]
        reports = self._examined(pods, numbers)
        scalers = self._list("horizontalpodautoscalers")
        budgets = self._list("poddisruptionbudgets")
        return Rollout(
            deployment,
            tuple(revisions),
            judge(deployment, revisions),
            tuple(sorted(reports, key=lambda each: (-each.revision, each.pod.name))),
            tuple(read_autoscaler(each) for each in scalers if scales(each, deployment)),
            tuple(read_budget(each) for each in budgets if protects(each, deployment)),
            tuple(self._events(revisions, pods)),
            tuple(self._blind),
        )

    def _list(self, kind: str, selector: str = "") -> list[Json]:
        query = {"label_selector": selector} if selector else {}
        return self._allowed(lambda: self._connection.all(kind, self._namespace, **query), [])

    def _allowed(self, ask: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return ask()
        except ClusterForbids as exc:
            self._blind[exc.message] = None
            return otherwise

    # --- pods ----------------------------------------------------------------------------------

    def _examined(self, pods: Sequence[Pod], numbers: Mapping[str, int]) -> list[PodReport]:
        is_pending = any(not pod.node and pod.phase == "Pending" for pod in pods)
        gpus = self._allowed(self._gpus, None) if is_pending else None
        return [
            examine(self._with_last_words(pod), numbers.get(pod.owner, 0), self._load(pod), gpus)
            for pod in pods
        ]

    def _gpus(self) -> Gpus | None:
        bound = self._connection.all("pods", field_selector=BOUND_AND_LIVE)
        nodes = read_nodes(self._connection.all("nodes"), used_by_node(bound))
        return Gpus(nodes, takers(bound))

    def _load(self, pod: Pod) -> Load | None:
        if pod.is_leaving:
            return None
        if is_fetching(pod):
            return self._allowed(lambda: read_fetch_log(self._log(pod, FETCH)), None)
        server = pod.server
        if server is not None and server.port and is_starting(pod):
            return self._allowed(lambda: self._startup(pod, server), None)
        return None

    def _startup(self, pod: Pod, server: Container) -> Load | None:
        answer = self._connection.ask_pod(self._namespace, _proxied(pod, server), "/startupz")
        return read_startupz(answer.body)

    def _with_last_words(self, pod: Pod) -> Pod:
        """Of a container that left no message, the log has one."""
        silent = failed_silently(pod)
        if silent is None or silent.ended is None:
            return pod
        is_over = silent.state != "terminated"  # another one is there, or waits
        text = self._allowed(lambda: self._log(pod, silent.name, previous=is_over), "")
        said = replace(silent, ended=replace(silent.ended, message=last_words(text)))
        return replace(pod, containers=tuple(said if c is silent else c for c in pod.containers))

    def _log(self, pod: Pod, container: str, *, previous: bool = False) -> str:
        return self._connection.log(
            self._namespace, pod.name, container, lines=_LOG_LINES, previous=previous
        )

    # --- events --------------------------------------------------------------------------------

    def _events(self, revisions: Sequence[Revision], pods: Sequence[Pod]) -> list[Event]:
        ours = {f"Deployment/{self._deployment.name}"}
        ours |= {f"HorizontalPodAutoscaler/{self._deployment.name}"}
        ours |= {f"ReplicaSet/{each.name}" for each in revisions}
        ours |= {f"Pod/{pod.name}" for pod in pods}
        events = map(read_event, self._list("events"))
        return that_matter([event for event in events if event.about in ours])


def _proxied(pod: Pod, server: Container) -> str:
    """The pod's name as its proxy takes it."""
    scheme = f"{server.scheme}:" if server.scheme else ""
    return f"{scheme}{pod.name}:{server.port}"


def _selector(deployment: Deployment) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(deployment.selector.items()))
