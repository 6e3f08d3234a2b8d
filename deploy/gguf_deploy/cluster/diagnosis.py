"""What is the state of a rollout, and what is wrong with a pod. Pure; time is passed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gguf_deploy.cluster.loading import Load, describe, last_words
from gguf_deploy.cluster.pending import Gpus, why_pending
from gguf_deploy.cluster.workload import FETCH, Container, Deployment, Ended, Event, Pod, Revision
from gguf_server.models.sizes import human_seconds

# Of ours, what the numbers mean (docs/models.md, docs/planning.md), and of everybody's.
EXIT_CODES: Mapping[int, str] = {
    0: "it ended, and should not have",
    1: "a bug",
    2: "an option is wrong",
    3: "not a model file",
    4: "llama.cpp cannot load it",
    5: "the engine kept crashing",
    6: "it cannot listen there",
    8: "no such model, or not for you",
    9: "it could not be fetched this time",
    10: "the model directory is full or unusable",
    11: "the model does not fit",
    126: "the command cannot be run",
    127: "no such command in the image",
    137: "killed",
    139: "it crashed",
    143: "stopped",
}

_CREATING = ("ContainerCreating", "PodInitializing", "")
_QUIET_EVENTS = ("Unhealthy", "BackOff")  # a load that goes on, and what the pods tell already
_MATTERS = ("Preempted", "NotTriggerScaleUp", "TriggeredScaleUp", "Evicted", "TaintManagerEviction")


class State(StrEnum):
    WELL = "well"
    PROGRESSING = "progressing"
    STUCK = "stuck"  # it no longer tries, or never can
    DEGRADED = "degraded"  # it was well, and lost pods
    PAUSED = "paused"
    EMPTY = "scaled to zero"

    @property
    def is_well(self) -> bool:
        return self in (State.WELL, State.EMPTY)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a rollout. ``words`` is one line; ``since`` 0 where nobody tells."""

    state: State
    words: str
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class PodReport:
    """``status`` is a word as of ``kubectl get pods``; ``trouble`` is empty if there is none."""

    pod: Pod
    revision: int
    status: str
    load: Load | None
    trouble: str

    @property
    def progress(self) -> str:
        """One line; empty if it loads nothing, or does not tell."""
        return describe(self.load) if self.load else ""


# --- the rollout -------------------------------------------------------------------------------


def judge(deployment: Deployment, revisions: Sequence[Revision]) -> Verdict:
    """By the numbers that ``kubectl rollout status`` goes by."""
    progressing = deployment.conditions.get("Progressing")
    since = progressing.since if progressing else 0.0
    refused = [each.trouble for each in revisions if each.trouble and each.pods]
    counts = _counts(deployment)
    if deployment.generation > deployment.observed_generation:
        words = "the cluster has not yet looked at the last change"
        return Verdict(State.PROGRESSING, words, since)
    if progressing and progressing.reason == "ProgressDeadlineExceeded":
        deadline = human_seconds(deployment.deadline_seconds)
        words = f"no progress within {deadline}: {counts or 'not all pods are ready'}"
        return Verdict(State.STUCK, words, since)
    if refused:
        return Verdict(State.STUCK, f"the cluster refuses its pods: {refused[0]}", since)
    if deployment.is_paused:
        return Verdict(State.PAUSED, "paused; kubectl rollout resume goes on", since)
    if not (deployment.wanted or deployment.total):
        return Verdict(State.EMPTY, "it wants no pods")
    if not counts:
        wanted = deployment.wanted
        return Verdict(State.WELL, f"{wanted} of {wanted} pods ready", since)
    was_done = progressing and progressing.reason == "NewReplicaSetAvailable"
    lost = was_done and deployment.wanted == deployment.updated == deployment.total
    return Verdict(State.DEGRADED if lost else State.PROGRESSING, counts, since)


def _counts(deployment: Deployment) -> str:
    """What is still to come; empty if nothing is."""
    wanted, updated = deployment.wanted, deployment.updated
    if updated < wanted:
        return f"{updated} of {wanted} new pods made"
    if deployment.total > updated:
        return f"{deployment.total - updated} old pods still there, {_available(deployment)}"
    return _available(deployment) if deployment.available < updated else ""


def _available(deployment: Deployment) -> str:
    return f"{min(deployment.available, deployment.total)} of {deployment.wanted} pods available"


# --- pods --------------------------------------------------------------------------------------


def examine(pod: Pod, revision: int, load: Load | None, gpus: Gpus | None) -> PodReport:
    """``load`` is what the pod itself says, ``gpus`` what the cluster has; None if not known."""
    return PodReport(pod, revision, _status(pod), load, _trouble(pod, gpus))


def is_fetching(pod: Pod) -> bool:
    fetch = pod.container(FETCH)
    return fetch is not None and fetch.state == "running"


def is_starting(pod: Pod) -> bool:
    """Its server runs and is not ready: it tells how far it is."""
    server = pod.server
    return server is not None and server.state == "running" and not server.is_ready


def failed_silently(pod: Pod) -> Container | None:
    """A container that ended badly without a last word; its log may have one."""
    for each in pod.containers:
        if not each.is_ready and each.ended and each.ended.exit_code and not each.ended.message:
            return each
    return None


def _status(pod: Pod) -> str:
    if pod.is_leaving:
        return "Terminating"
    if pod.phase in ("Failed", "Succeeded"):
        return pod.reason or pod.phase
    if pod.is_ready:
        return "Ready"
    if not pod.node:
        return "Pending"
    for each in pod.containers:
        if each.state == "waiting" and each.reason not in _CREATING:
            return each.reason
        if each.is_init and each.state == "running" and not each.is_sidecar:
            return f"Init:{each.name}"
    return "Starting" if is_starting(pod) else "Creating"


def _trouble(pod: Pod, gpus: Gpus | None) -> str:
    if pod.is_leaving or pod.phase == "Succeeded":
        return ""
    if pod.phase == "Failed":
        return ": ".join(part for part in (pod.reason or "failed", pod.message) if part)
    if not pod.node:
        return why_pending(pod, gpus)
    for each in pod.containers:
        if told := _trouble_of(each):
            return told
    return ""


def _trouble_of(container: Container) -> str:
    """A container that is ready now may have died before; that is told, too."""
    if container.state == "waiting" and container.reason not in _CREATING:
        if container.ended:
            return f"{container.name} {_ended(container.ended)}; it is tried again"
        return f"{container.name}: {container.reason}: {container.message}".removesuffix(": ")
    ended = container.ended
    if container.state == "terminated" and ended and ended.exit_code:
        return f"{container.name} {_ended(ended)}"
    if ended and container.restarts and not container.is_ready:
        return f"{container.name} {_ended(ended)}; it was started again"
    return ""


def _ended(ended: Ended) -> str:
    """``ended with exit code 11 (the model does not fit): CUDA0 needs ...``"""
    meaning = EXIT_CODES.get(ended.exit_code, "")
    if ended.reason == "OOMKilled":
        meaning = "killed: it took more memory than its limit"
    words = last_words(ended.message)
    about = f" ({meaning})" if meaning else ""
    return f"ended with exit code {ended.exit_code}{about}" + (f": {words}" if words else "")


# --- events ------------------------------------------------------------------------------------


def that_matter(events: Sequence[Event], most: int = 8) -> list[Event]:
    """Warnings, the newest last; without what every load causes."""
    chosen = [
        event
        for event in events
        if (event.is_warning or event.reason in _MATTERS) and event.reason not in _QUIET_EVENTS
    ]
    return sorted(chosen, key=lambda event: event.last)[-most:]
