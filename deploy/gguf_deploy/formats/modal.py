"""The file that ``deploy/modal_app.py`` reads: a ``Placement``, and what of it Modal wants to know.

That file knows the standard library and Modal only, so everything is spelled out here. Names
without a unit are Modal's own.
"""

from collections.abc import Sequence

import msgspec

from gguf_deploy.formats.environment import environment, in_volume
from gguf_deploy.hardware import Gpu, find
from gguf_server.errors import SettingsError
from gguf_server.knobs import Knobs
from gguf_server.models.placement import PlacedGpu, PlacedModel, Placement
from gguf_server.models.reference import Reference, parse_reference

_MIB = 1 << 20
# Guesses, not measured: a core drives the GPUs, another samples, a third serves. Where layers are
# computed on the CPU, more cores are what they need. Modal bills what is asked for.
_CORES_BESIDE_GPUS, _CORES_BESIDE_CPU_LAYERS, _CORES_ALONE = 4, 16, 8


def text(placement: Placement, others: Sequence[Gpu] = ()) -> str:
    """JSON. ``others`` would do too, in the same number, when there is none of the chosen.
    Raises ``SettingsError`` for a GPU that Modal does not have.
    """
    here = placement.model.reference
    placement, cores = in_volume(placement), _cores(placement)
    plan = {
        "version": placement.version,
        "model_names": list(dict.fromkeys([*_names(placement.model), here])),
        "resources": {
            "gpu": _gpus(placement.gpu, others) if placement.gpu else None,
            "cpu": cores,
            "memory": -(-placement.host.num_bytes // _MIB),
        },
        "startup_timeout": placement.startup.modal_startup_timeout_seconds,
        "max_inputs": placement.knobs.slots,
        # A machine of Modal's has more cores than a container may use.
        "environment": environment(placement) | {"GGUF_THREADS": str(cores)},
        "placement": placement,
    }
    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"


def _names(model: PlacedModel) -> list[str]:
    """What ``MODEL_NAME`` may say and mean this plan."""
    source = parse_reference(model.reference)
    if not isinstance(source, Reference):
        return [model.reference]
    pinned = f"{source.repository}@{model.commit}"
    labelled = [f"{name}:{model.label}" for name in (source.repository, pinned)]
    return list(dict.fromkeys([model.reference, source.repository, pinned, *labelled]))


def _gpus(gpu: PlacedGpu, others: Sequence[Gpu]) -> list[str]:
    """In the order in which Modal is to try them."""
    spelled = _spelled(gpu)
    count = f":{gpu.count}" if gpu.count > 1 else ""
    able = [other for other in others if gpu.count <= other.max_per_modal_container]
    return list(dict.fromkeys([spelled, *(f"{other.modal_name}{count}" for other in able)]))


def _spelled(gpu: PlacedGpu) -> str:
    """``L4``, ``A100-80GB:2``"""
    if not gpu.modal_name:
        msg = f"Modal has no {gpu.name}; plan for another with --gpu, such as --gpu L4,L40S"
        raise SettingsError(msg)
    most = find(gpu.name).max_per_modal_container
    if gpu.count > most:
        msg = (
            f"Modal gives at most {most} {gpu.modal_name} to a container, not {gpu.count};"
            f" plan with --max-gpus {most} or another --gpu"
        )
        raise SettingsError(msg)
    return gpu.modal_name if gpu.count == 1 else f"{gpu.modal_name}:{gpu.count}"


def _cores(placement: Placement) -> int:
    if placement.gpu is None:
        return _CORES_ALONE
    knobs = placement.knobs
    is_split = knobs.n_cpu_moe or knobs.n_gpu_layers != Knobs().n_gpu_layers
    return _CORES_BESIDE_CPU_LAYERS if is_split else _CORES_BESIDE_GPUS
