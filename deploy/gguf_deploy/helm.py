"""Values of the Helm chart for a ``Placement``; they need no edit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gguf_deploy.environment import environment
from gguf_deploy.plan_file import plan_file
from gguf_server.models.placement import PlacedModel, Placement, dumps
from gguf_server.models.reference import Reference, parse_reference

_MIB = 1 << 20
# Made of the model's reference and its name, and of the number of GPUs.
_OF_THE_CHART = ("MODEL_NAME", "GGUF_SERVED_MODEL_NAME", "GGUF_DEVICE")


class GpuLabels(Protocol):
    """A kind of GPU, as the labels of cloud nodes call it."""

    @property
    def karpenter(self) -> tuple[str, ...]: ...
    @property
    def gke(self) -> tuple[str, ...]: ...
    @property
    def aks(self) -> tuple[str, ...]: ...


def values(placement: Placement, gpus: Sequence[GpuLabels] = ()) -> dict[str, object]:
    """``gpus`` are all kinds that would do, smallest first."""
    model, startup = placement.model, placement.startup
    variables = environment(placement)
    for name in _OF_THE_CHART:
        del variables[name]
    return {
        "model": _model(model),
        "server": {"environment": variables},
        "gpu": _gpu(placement, gpus),
        "resources": {"requests": {"memory": f"{_mib(placement.host.num_bytes)}Mi"}},
        "startupProbe": {
            "periodSeconds": startup.probe_period_seconds,
            "failureThreshold": startup.probe_failure_threshold,
        },
        "progressDeadlineSeconds": startup.progress_deadline_seconds,
        "helmTimeoutSeconds": startup.helm_timeout_seconds,
        "plan": dumps(placement),
    }


def text(placement: Placement, gpus: Sequence[GpuLabels] = (), *, command: str) -> str:
    """A values file. ``command`` is what was typed to make it."""
    timeout = f"--timeout {placement.startup.helm_timeout_seconds}s"
    how = f"Install: helm install NAME charts/gguf-server --values THIS_FILE {timeout}"
    return plan_file(placement, command, [how], values(placement, gpus))


def _model(model: PlacedModel) -> dict[str, object]:
    source = parse_reference(model.reference)
    if isinstance(source, Path):
        source = Reference(str(source))
    return {
        "name": source.repository,
        "revision": model.commit,
        "quantization": source.selector,
        "servedName": model.name,
        "sizeBytes": model.size_bytes,
    }


def _gpu(placement: Placement, gpus: Sequence[GpuLabels]) -> dict[str, object]:
    """Bytes are of each GPU: of the one that needs most."""
    if placement.gpu is None:
        return {"count": 0}
    needed_bytes = max((need.num_bytes for need in placement.devices), default=0)
    return {
        "count": placement.gpu.count,
        "name": placement.gpu.name,
        "memoryBytes": needed_bytes,
        "nodeLabels": node_labels(gpus),
    }


def node_labels(gpus: Sequence[GpuLabels]) -> dict[str, list[str]]:
    """By cloud."""
    return {
        "aws": _names([gpu.karpenter for gpu in gpus]),
        "gke": _names([gpu.gke for gpu in gpus]),
        "aks": _names([gpu.aks for gpu in gpus]),
    }


def _names(groups: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _mib(num_bytes: int) -> int:
    return -(-num_bytes // _MIB)
