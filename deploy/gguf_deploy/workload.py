"""A Deployment and what belongs to it, read from what an API server says. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
HASH = "pod-template-hash"  # the controller's own; in no template that is applied
REVISION = "deployment.kubernetes.io/revision"
GPU_MEMORY = "gguf-server/gpu-memory-bytes"  # of each GPU, as planned

SERVER, FETCH = "server", "fetch"  # containers of the chart

_MODEL = "MODEL_NAME"
_MODELS_DIR = "/models"


@dataclass(frozen=True, slots=True)
class Condition:
    """``since`` is in seconds since the epoch, as all times here are."""

    kind: str
    status: str
    reason: str = ""
    message: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Template:
    """Of pods: what an image serves, and ``store`` is where its models are: ``PVC models``,
    ``a new volume for each pod``; empty where that is not told.
    """

    image: str
    model: str
    store: str
    keeps_models: bool
    document: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A ReplicaSet of the Deployment; ``pods`` are those that it wants."""

    number: int
    name: str
    uid: str
    template: Template
    annotations: Mapping[str, str]
    pods: int
    ready: int
    created: float
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    selector: Mapping[str, str]
    generation: int
    observed_generation: int
    wanted: int
    total: int
    updated: int
    ready: int
    available: int
    is_paused: bool
    strategy: str
    max_unavailable: str
    deadline_seconds: float
    conditions: Mapping[str, Condition]
    revision: int
    template: Template

    @property
    def helm_release(self) -> str:
        """Empty if Helm does not manage it."""
        is_helms = self.labels.get(MANAGED_BY) == "Helm"
        return self.annotations.get("meta.helm.sh/release-name", "") if is_helms else ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container's process ended."""

    exit_code: int
    reason: str
    message: str
    when: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """``state`` is waiting, running, terminated, or empty while nobody has looked at it.

    ``ended`` is how it ended, or did the last time. ``port`` is its HTTP port, 0 without one.
    """

    name: str
    is_init: bool
    is_sidecar: bool
    state: str
    reason: str
    message: str
    since: float
    is_ready: bool
    restarts: int
    ended: Ended | None
    port: int = 0
    scheme: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """``unscheduled`` is why no node was found; None if one was, or nobody has looked."""

    name: str
    namespace: str
    owner: str
    phase: str
    reason: str
    message: str
    node: str
    created: float
    is_leaving: bool
    is_ready: bool
    unscheduled: Condition | None
    gpu_bytes: int
    containers: tuple[Container, ...]
    document: Json

    def container(self, name: str) -> Container | None:
        """By this name; for the server the first one will do, whatever it is called."""
        for each in self.containers:
            if each.name == name:
                return each
        return None

    @property
    def server(self) -> Container | None:
        found = [each for each in self.containers if not each.is_init]
        return self.container(SERVER) or (found[0] if found else None)

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self.containers)


@dataclass(frozen=True, slots=True)
class Event:
    """``about`` is ``Pod/chat-x``."""

    about: str
    reason: str
    message: str
    is_warning: bool
    last: float
    count: int


@dataclass(frozen=True, slots=True)
class Autoscaler:
    name: str
    least: int
    most: int
    current: int
    wanted: int
    trouble: str


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget."""

    name: str
    allowed: int
    healthy: int
    needed: int


# --- reading -----------------------------------------------------------------------------------


def read_deployment(found: Json) -> Deployment:
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    strategy = spec.get("strategy") or {}
    conditions = [_condition(each) for each in status.get("conditions") or ()]
    annotations = metadata.get("annotations") or {}
    return Deployment(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata.get("uid", ""),
        labels=metadata.get("labels") or {},
        annotations=annotations,
        selector=(spec.get("selector") or {}).get("matchLabels") or {},
        generation=metadata.get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        wanted=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        is_paused=bool(spec.get("paused")),
        strategy=strategy.get("type", "RollingUpdate"),
        max_unavailable=str((strategy.get("rollingUpdate") or {}).get("maxUnavailable", "25%")),
        deadline_seconds=float(spec.get("progressDeadlineSeconds", 600)),
        conditions={each.kind: each for each in conditions},
        revision=_revision(annotations),
        template=read_template(spec["template"]),
    )


def read_revisions(found: Iterable[Json], owner: Deployment) -> list[Revision]:
    """The newest first; of those that the Deployment owns."""
    own = [each for each in found if _owner(each) == owner.uid]
    return sorted(map(_read_revision, own), key=lambda each: -each.number)


def _read_revision(found: Json) -> Revision:
    metadata, status = found["metadata"], found.get("status") or {}
    annotations = metadata.get("annotations") or {}
    failures = [
        condition.message
        for condition in map(_condition, status.get("conditions") or ())
        if condition.kind == "ReplicaFailure" and condition.status == "True"
    ]
    return Revision(
        number=_revision(annotations),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        template=read_template(found["spec"]["template"]),
        annotations=annotations,
        pods=found["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        created=seconds(metadata.get("creationTimestamp")),
        trouble=failures[0] if failures else "",
    )


def read_template(document: Json) -> Template:
    spec = document["spec"]
    containers = spec["containers"]
    server = next((each for each in containers if each["name"] == SERVER), containers[0])
    variables = {each["name"]: each.get("value", "") for each in server.get("env") or ()}
    store, keeps = _store(spec, server)
    return Template(server.get("image", ""), variables.get(_MODEL, ""), store, keeps, document)


def _store(spec: Json, server: Json) -> tuple[str, bool]:
    mounts = server.get("volumeMounts") or ()
    name = next((each["name"] for each in mounts if each["mountPath"] == _MODELS_DIR), "")
    volume: Json = next((each for each in spec.get("volumes") or () if each["name"] == name), {})
    if "persistentVolumeClaim" in volume:
        return f"PVC {volume['persistentVolumeClaim']['claimName']}", True
    if "hostPath" in volume:
        return f"{volume['hostPath']['path']} of the node", True
    if "image" in volume:
        return f"image {volume['image'].get('reference', '')}", True
    if "emptyDir" in volume or "ephemeral" in volume:
        return "a new volume for each pod", False
    return "", False


def read_pod(found: Json) -> Pod:
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    conditions = {each["type"]: _condition(each) for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled")
    planned = str((metadata.get("annotations") or {}).get(GPU_MEMORY, ""))
    return Pod(
        name=metadata["name"],
        namespace=metadata["namespace"],
        owner=_owner(found),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        node=spec.get("nodeName", ""),
        created=seconds(metadata.get("creationTimestamp")),
        is_leaving="deletionTimestamp" in metadata,
        is_ready="Ready" in conditions and conditions["Ready"].status == "True",
        unscheduled=scheduled if scheduled and scheduled.status == "False" else None,
        gpu_bytes=int(planned) if planned.isdecimal() else 0,
        containers=tuple(_containers(spec, status)),
        document=found,
    )


def _containers(spec: Json, status: Json) -> Iterable[Container]:
    for field, states in (
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ):
        by_name = {each["name"]: each for each in status.get(states) or ()}
        for each in spec.get(field) or ():
            yield _container(each, by_name.get(each["name"], {}), is_init=field != "containers")


def _container(spec: Json, status: Json, *, is_init: bool) -> Container:
    state, about = next(iter((status.get("state") or {}).items()), ("", {}))
    last = (status.get("lastState") or {}).get("terminated")
    ended = about if state == "terminated" else last
    port, scheme = _http(spec)
    return Container(
        name=spec["name"],
        is_init=is_init,
        is_sidecar=is_init and spec.get("restartPolicy") == "Always",
        state=state,
        reason=about.get("reason", ""),
        message=about.get("message", ""),
        since=seconds(about.get("startedAt")),
        is_ready=bool(status.get("ready")),
        restarts=status.get("restartCount", 0),
        ended=_ended(ended) if ended else None,
        port=port,
        scheme=scheme,
    )


def _http(container: Json) -> tuple[int, str]:
    """As the kubelet asks."""
    ports = container.get("ports") or ()
    port = next((each for each in ports if each.get("name") == "http"), ports[0] if ports else {})
    probe = container.get("readinessProbe") or container.get("startupProbe") or {}
    scheme = (probe.get("httpGet") or {}).get("scheme", "HTTP")
    return port.get("containerPort", 0), "https" if scheme == "HTTPS" else ""


def _ended(found: Json) -> Ended:
    return Ended(
        found.get("exitCode", 0),
        found.get("reason", ""),
        found.get("message", ""),
        seconds(found.get("finishedAt")),
    )


def read_event(found: Json) -> Event:
    about, series = found.get("involvedObject") or {}, found.get("series") or {}
    last = (
        series.get("lastObservedTime")
        or found.get("lastTimestamp")
        or found.get("eventTime")
        or found["metadata"].get("creationTimestamp")
    )
    return Event(
        f"{about.get('kind', '')}/{about.get('name', '')}",
        found.get("reason", ""),
        found.get("message", ""),
        found.get("type") == "Warning",
        seconds(last),
        series.get("count") or found.get("count") or 1,
    )


def read_autoscaler(found: Json) -> Autoscaler:
    spec, status = found["spec"], found.get("status") or {}
    troubles = [
        f"{condition.reason}: {condition.message}"
        for condition in map(_condition, status.get("conditions") or ())
        if condition.kind in ("AbleToScale", "ScalingActive") and condition.status == "False"
    ]
    return Autoscaler(
        found["metadata"]["name"],
        spec.get("minReplicas", 1),
        spec["maxReplicas"],
        status.get("currentReplicas", 0),
        status.get("desiredReplicas", 0),
        "; ".join(troubles),
    )


def scales(found: Json, deployment: Deployment) -> bool:
    target = found["spec"]["scaleTargetRef"]
    return (target.get("kind"), target.get("name")) == ("Deployment", deployment.name)


def read_budget(found: Json) -> Budget:
    status = found.get("status") or {}
    return Budget(
        found["metadata"]["name"],
        status.get("disruptionsAllowed", 0),
        status.get("currentHealthy", 0),
        status.get("desiredHealthy", 0),
    )


def protects(found: Json, deployment: Deployment) -> bool:
    """By its labels; whoever selects by expressions is not understood, and not shown."""
    selector = found["spec"].get("selector") or {}
    labels = (deployment.template.document.get("metadata") or {}).get("labels") or {}
    wanted = selector.get("matchLabels") or {}
    return bool(wanted) and not selector.get("matchExpressions") and wanted.items() <= labels.items()


# --- words of the API --------------------------------------------------------------------------


def seconds(text: str | None) -> float:
    """``2026-11-26T04:47:20Z``; 0 for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def _condition(found: Json) -> Condition:
    """Of a Deployment that makes progress, ``lastUpdateTime`` is when it last did."""
    return Condition(
        found["type"],
        found["status"],
        found.get("reason", ""),
        found.get("message", ""),
        seconds(found.get("lastUpdateTime") or found.get("lastTransitionTime")),
    )


def _revision(annotations: Mapping[str, str]) -> int:
    text = annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def _owner(found: Json) -> str:
    owners = found["metadata"].get("ownerReferences") or ()
    return next((each["uid"] for each in owners if each.get("controller")), "")
