"""Values of the Helm chart for a ``Placement``; they need no edit."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gguf_deploy.environment import environment
from gguf_deploy.plan_file import plan_file
from gguf_server.models.placement import PlacedModel, Placement
from gguf_server.models.reference import parse_reference

_MIB, _GIB = 1 << 20, 1 << 30
_KEPT_REVISIONS = 2  # going back must not need a download
_DISK_MARGIN = 1.1  # what a file system keeps for itself
_DISK_REST_BYTES = _GIB  # tokenizers, manifests


class GpuLabels(Protocol):
    """A kind of GPU, as the labels of cloud nodes call it; most have no label for its memory."""

    @property
    def gke(self) -> tuple[str, ...]: ...
    @property
    def karpenter(self) -> tuple[str, ...]: ...
    @property
    def aks(self) -> tuple[str, ...]: ...


def values(placement: Placement, gpus: Sequence[GpuLabels] = ()) -> dict[str, object]:
    """``gpus`` are all kinds that would do."""
    model, startup = placement.model, placement.startup
    variables = environment(placement)
    del variables["MODEL_NAME"]  # the chart makes it of the model's reference
    document: dict[str, object] = {
        "model": _model(model),
        "server": {"environment": variables},
        "gpu": _gpu(placement, gpus),
        "resources": {"requests": {"memory": f"{_mib(placement.host.num_bytes)}Mi"}},
    }
    if model.commit:  # a file is on somebody's volume already
        document["persistence"] = {"size": f"{_volume_gib(model.size_bytes)}Gi"}
    return document | {
        "startupProbe": {
            "periodSeconds": startup.probe_period_seconds,
            "failureThreshold": startup.probe_failure_threshold,
        },
        "progressDeadlineSeconds": startup.progress_deadline_seconds,
        "helmTimeoutSeconds": startup.helm_timeout_seconds,
    }


def text(placement: Placement, gpus: Sequence[GpuLabels] = (), *, command: str) -> str:
    """A values file. ``command`` is what was typed to make it."""
    timeout = f"--timeout {placement.startup.helm_timeout_seconds}s"
    how = f"Install: helm install NAME charts/gguf-server --values THIS_FILE {timeout}"
    return plan_file(placement, command, [how], values(placement, gpus))


def _model(model: PlacedModel) -> dict[str, object]:
    source = parse_reference(model.reference)
    return {
        "name": str(source) if isinstance(source, Path) else source.repository,
        "reference": model.reference,
        "revision": model.commit,
        "quantization": model.label,
        "sizeBytes": model.size_bytes,
    }


def _gpu(placement: Placement, gpus: Sequence[GpuLabels]) -> dict[str, object]:
    """Bytes are of each GPU. ``memoryMiBAbove`` is for ``Gt``, which wants more than that."""
    if placement.gpu is None:
        return {"count": 0}
    needed_bytes = max((need.num_bytes for need in placement.devices), default=0)
    return {
        "count": placement.gpu.count,
        "name": placement.gpu.name,
        "memoryBytes": needed_bytes,
        "memoryMiBAbove": max(_mib(needed_bytes) - 1, 0),
        "nodeLabels": {
            "gke": _names([gpu.gke for gpu in gpus]),
            "karpenter": _names([gpu.karpenter for gpu in gpus]),
            "aks": _names([gpu.aks for gpu in gpus]),
        },
    }


def _names(groups: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _mib(num_bytes: int) -> int:
    return -(-num_bytes // _MIB)


def _volume_gib(size_bytes: int) -> int:
    return math.ceil((_KEPT_REVISIONS * size_bytes * _DISK_MARGIN + _DISK_REST_BYTES) / _GIB)
