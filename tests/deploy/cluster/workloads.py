"""A Deployment of the chart with its ReplicaSets and pods, as an API server tells of them."""

from copy import deepcopy
from typing import Any

Json = dict[str, Any]

NAMESPACE = "models"
LABELS = {"app.kubernetes.io/name": "gguf-server", "app.kubernetes.io/instance": "chat"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD, NEW = f"acme/moe@{COMMIT}:Q6_K", f"acme/moe@{COMMIT}:Q8_0"
PVC = {"persistentVolumeClaim": {"claimName": "chat-models"}}


def template(image: str = "gguf-server:1", model: str = OLD, volume: Json | None = None) -> Json:
    return {
        "metadata": {"labels": dict(LABELS)},
        "spec": {
            "initContainers": [{"name": "fetch", "image": image}],
            "containers": [
                {
                    "name": "server",
                    "image": image,
                    "env": [{"name": "MODEL_NAME", "value": model}, {"name": "X", "valueFrom": {}}],
                    "ports": [
                        {"name": "other", "containerPort": 9},
                        {"name": "http", "containerPort": 8000},
                    ],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "models", "mountPath": "/models"},
                    ],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "models", **(volume or PVC)}],
        },
    }


def deployment(
    pods: Json,
    *,
    name: str = "chat",
    revision: int = 2,
    wanted: int = 1,
    updated: int = 1,
    available: int = 1,
    total: int | None = None,
    progress: str = "NewReplicaSetAvailable",
) -> Json:
    """``pods`` is their template."""
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "generation": revision,
            "labels": {**LABELS, "app.kubernetes.io/instance": name},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        },
        "spec": {
            "replicas": wanted,
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
            "progressDeadlineSeconds": 2700,
            "template": pods,
        },
        "status": {
            "observedGeneration": revision,
            "replicas": updated if total is None else total,
            "updatedReplicas": updated,
            "readyReplicas": available,
            "availableReplicas": available,
            "conditions": [_progressing(progress)],
        },
    }


def _progressing(reason: str) -> Json:
    return {
        "type": "Progressing",
        "status": "False" if reason == "ProgressDeadlineExceeded" else "True",
        "reason": reason,
        "lastTransitionTime": "2026-11-26T10:00:00Z",
        "lastUpdateTime": "2026-11-26T10:10:00Z",
    }


def replicaset(
    pods: Json, revision: int, *, name: str = "", owner: str = "uid-chat", ready: int = 0
) -> Json:
    name = name or f"chat-{revision}"
    copied = deepcopy(pods)
    copied["metadata"]["labels"]["pod-template-hash"] = name
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "labels": {**LABELS, "pod-template-hash": name},
            "annotations": {
                "deployment.kubernetes.io/revision": str(revision),
                "deployment.kubernetes.io/desired-replicas": "1",
            },
            "creationTimestamp": "2026-11-26T10:00:00Z",
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "spec": {"replicas": ready, "template": copied},
        "status": {"replicas": ready, "readyReplicas": ready},
    }


def pod(name: str = "chat-2-a", *, owner: str = "uid-chat-2", node: str = "n1") -> Json:
    """Ready, with all its containers."""
    spec = deepcopy(template()["spec"])
    if node:
        spec["nodeName"] = node
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": dict(LABELS),
            "creationTimestamp": "2026-11-26T10:00:00Z",
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "spec": spec,
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "initContainerStatuses": [
                {"name": "fetch", "ready": True, "state": {"terminated": {"exitCode": 0}}}
            ],
            "containerStatuses": [{"name": "server", "ready": True, "state": {"running": {}}}],
        },
    }


def unready(found: Json, state: Json, **more: Any) -> Json:
    """Its server is in ``state``."""
    found["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    server = {"name": "server", "ready": False, "state": state, **more}
    found["status"]["containerStatuses"] = [server]
    return found


def fetching(found: Json, state: Json, **more: Any) -> Json:
    """Its init container is in ``state``."""
    unready(found, {"waiting": {"reason": "PodInitializing"}})
    found["status"]["phase"] = "Pending"
    fetch = {"name": "fetch", "ready": False, "state": state, **more}
    found["status"]["initContainerStatuses"] = [fetch]
    return found


def pending(found: Json, message: str, *, gpus: int = 0, gpu_bytes: int = 0) -> Json:
    """No node takes it."""
    found["spec"].pop("nodeName", None)
    if gpus:
        limits = {"nvidia.com/gpu": str(gpus)}
        found["spec"]["containers"][0]["resources"] = {"limits": limits}
    if gpu_bytes:
        found["metadata"]["annotations"] = {"gguf-server/gpu-memory-bytes": str(gpu_bytes)}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found["status"] = {"phase": "Pending", "conditions": [{**condition, "message": message}]}
    return found


def event(about: str, reason: str, message: str, *, kind: str = "Warning", count: int = 1) -> Json:
    """``about`` is ``Pod/name``."""
    what, _, name = about.partition("/")
    return {
        "metadata": {"name": f"{name}.1", "namespace": NAMESPACE},
        "involvedObject": {"kind": what, "name": name},
        "reason": reason,
        "message": message,
        "type": kind,
        "count": count,
        "lastTimestamp": "2026-11-26T10:10:00Z",
    }
