"""The file that ``deploy/modal_app.py`` reads: a ``Placement``, and what of it Modal wants to know.

That file knows the standard library and Modal only, so everything is spelled out here. Names
without a unit are Modal's own.
"""

import msgspec

from gguf_deploy.environment import environment
from gguf_deploy.hardware import find
from gguf_server.errors import SettingsError
from gguf_server.models.placement import PlacedGpu, Placement

_MIB = 1 << 20


def document(placement: Placement) -> str:
    """JSON text. Raises ``SettingsError`` for a GPU that Modal does not have."""
    plan = {
        "version": placement.version,
        "gpu": _gpu(placement.gpu) if placement.gpu else None,
        "memory": -(-placement.host.num_bytes // _MIB),
        "startup_timeout": placement.startup.modal_startup_timeout_seconds,
        "max_inputs": placement.knobs.slots,
        "environment": environment(placement),
        "placement": placement,
    }
    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"


def _gpu(gpu: PlacedGpu) -> str:
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
