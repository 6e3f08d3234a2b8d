"""A Deployment and what belongs to it, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from gguf_deploy.cluster import Json

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
HASH = "pod-template-hash"  # the controller's own; in no template that is applied
REVISION = "deployment.kubernetes.io/revision"
GPU_MEMORY = "gguf-server/gpu-memory-bytes"  # of each GPU, as planned

SERVER, FETCH = "server", "fetch"  # containers of the chart


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
    ready_path: str = ""


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
        return next((each for each in self.containers if each.name == name), None)

    @property
    def server(self) -> Container | None:
        """By its name; else the first one will do, whatever it is called."""
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
