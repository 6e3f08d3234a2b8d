"""A Deployment and what belongs to it, read from what an API server says. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from gguf_deploy.cluster import Json
from gguf_deploy.cluster.workload import (
    GPU_MEMORY,
    REVISION,
    SERVER,
    Autoscaler,
    Budget,
    Condition,
    Container,
    Deployment,
    Ended,
    Event,
    Pod,
    Revision,
    Template,
)

_MODEL = "MODEL_NAME"
_MODELS_DIR = "/models"


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
    model = variables.get(_MODEL) or _of_vllm(server)
    store, keeps = _store(spec, server)
    return Template(server.get("image", ""), model, store, keeps, document)


def _of_vllm(server: Json) -> str:
    """``vllm serve org/repo --revision=<commit>``, as we would name it; empty for anything else."""
    words = [*(server.get("command") or ()), *(server.get("args") or ())]
    if words[:2] != ["vllm", "serve"] or len(words) < len(["vllm", "serve", "MODEL"]):
        return ""
    revisions = [word.partition("=")[2] for word in words if word.startswith("--revision=")]
    return "@".join([words[2], *revisions[-1:]])


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
    states: Json = status.get("state") or {}
    state = next(iter(states), "")
    about: Json = states.get(state) or {}
    ended = about if state == "terminated" else (status.get("lastState") or {}).get("terminated")
    port, probe = _port(spec), _probe(spec)
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
        scheme="https" if probe.get("scheme") == "HTTPS" else "",
        ready_path=probe.get("path", ""),
    )


def _port(container: Json) -> int:
    ports: Sequence[Json] = container.get("ports") or ({},)
    port = next((each for each in ports if each.get("name") == "http"), ports[0])
    return int(port.get("containerPort", 0))


def _probe(container: Json) -> Json:
    probe = container.get("readinessProbe") or container.get("startupProbe") or {}
    return probe.get("httpGet") or {}


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
    return (
        bool(wanted) and not selector.get("matchExpressions") and wanted.items() <= labels.items()
    )


# --- words of the API --------------------------------------------------------------------------


def seconds(text: str | None) -> float:
    """``2026-11-26T04:47:20Z``; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


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
