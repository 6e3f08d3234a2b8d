"""Values of the Helm chart for a ``Placement``; they need no edit."""

from collections.abc import Sequence
from pathlib import Path

from gguf_deploy.formats.environment import environment, in_volume
from gguf_deploy.formats.plan_file import plan_file
from gguf_deploy.hardware import Gpu
from gguf_server.models.placement import PlacedModel, Placement, Startup, dumps
from gguf_server.models.reference import Reference, parse_reference
from gguf_server.settings.declared import environment_name

_MIB = 1 << 20
# As the server would take of a container's memory.
_CACHE_SHARE, _MOST_CACHE_BYTES = 4, 4 << 30
_HOST_CACHE = environment_name("host_cache_bytes")
# Made of the model's reference and its name, and of the number of GPUs.
_OF_THE_CHART = ("MODEL_NAME", "GGUF_SERVED_MODEL_NAME", "GGUF_DEVICE")


def values(placement: Placement, gpus: Sequence[Gpu] = ()) -> dict[str, object]:
    """``gpus`` are all kinds that would do, smallest first."""
    placement = in_volume(placement)
    variables, cache_bytes = environment(placement), host_cache_bytes(placement)
    for name in _OF_THE_CHART:
        del variables[name]
    return {
        "model": _model(placement.model),
        "server": {"environment": variables | {_HOST_CACHE: str(cache_bytes)}},
        "gpu": _gpu(placement, gpus),
        "resources": {
            "requests": {
                "cpu": str(placement.gpu.count if placement.gpu else 1),
                "memory": f"{_mib(placement.host.num_bytes + cache_bytes)}Mi",
            }
        },
        **budgets(placement.startup),
        "plan": dumps(placement),
    }


def budgets(startup: Startup) -> dict[str, object]:
    """How long a start may take, by whoever waits for it."""
    return {
        "startupProbe": {
            "periodSeconds": startup.probe_period_seconds,
            "failureThreshold": startup.probe_failure_threshold,
        },
        "progressDeadlineSeconds": startup.progress_deadline_seconds,
        "helmTimeoutSeconds": startup.helm_timeout_seconds,
    }


def text(placement: Placement, gpus: Sequence[Gpu] = (), *, command: str) -> str:
    """A values file. ``command`` is what was typed to make it."""
    how = how_to_install(placement.startup.helm_timeout_seconds)
    return plan_file(placement, command, how, values(placement, gpus))


def how_to_install(timeout_seconds: int) -> list[str]:
    timeout = f"--timeout {timeout_seconds}s"
    return [
        f"Install: helm install NAME charts/gguf-server --values THIS_FILE {timeout}",
        "What is yours (image.repository, secrets) is in a file of its own: --values site.yaml",
    ]


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


def _gpu(placement: Placement, gpus: Sequence[Gpu]) -> dict[str, object]:
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


def node_labels(gpus: Sequence[Gpu]) -> dict[str, list[str]]:
    """By cloud."""
    return {
        "aws": _names([gpu.karpenter for gpu in gpus]),
        "gke": _names([gpu.gke for gpu in gpus]),
        "aks": _names([gpu.aks for gpu in gpus]),
    }


def _names(groups: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def host_cache_bytes(placement: Placement) -> int:
    """For evicted prefixes. Said here, for a server that is not told takes its share of what the
    whole node has free, and so more than its pod asked for: then it is the first to be evicted.

    A small model wants little: at most as much as all else that it needs.
    """
    needs = (placement.host, *placement.devices)
    free_bytes = max(0, placement.host.there_bytes - placement.host.num_bytes)
    needed_bytes = sum(need.num_bytes for need in needs)
    return min(free_bytes // _CACHE_SHARE, _MOST_CACHE_BYTES, needed_bytes)


def _mib(num_bytes: int) -> int:
    return -(-num_bytes // _MIB)
