"""What llama.cpp says on simulated GPUs beside what the closed form says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from gguf_deploy.planning.measuring import Measurer
from gguf_server.knobs import Knobs
from gguf_server.models.measurement import DeviceUse, Question, SimulatedGpu, Topology
from tests.deploy.architectures import ARCHITECTURES
from tests.deploy.closed_form import Case, Use, needs

# Larger than any: what fits where is not the question here, and halves are halves.
GPU = SimulatedGpu("simulated", 1 << 40, 1 << 40)
CONFIGURATIONS: Mapping[str, Knobs] = {
    "8k": Knobs(context_tokens=8192, slots=1),
    "4 x 16k": Knobs(context_tokens=16384, slots=4),
    "4 x 8k, q8_0": Knobs(context_tokens=8192, slots=4, cache_type_k="q8_0", cache_type_v="q8_0"),
    "2 x 8k unified, batch 1024": Knobs(
        context_tokens=8192, slots=2, kv_layout="unified", max_batch_tokens=1024
    ),
    "4k, no flash attention": Knobs(context_tokens=4096, slots=1, flash_attention="off"),
}
PLACEMENTS = ("1 GPU", "2 GPUs", "half the layers", "half the experts")


@dataclass(frozen=True)
class Cell:
    """One model in one configuration. ``is_exact`` is the closed form's about compute buffers."""

    architecture: str
    placement: str
    configuration: str
    measured: tuple[Use, ...]  # GPUs, then the host
    computed: tuple[Use, ...]
    is_exact: bool

    @property
    def total_error(self) -> float:
        """As a share of all memory."""
        return _share(sum(map(_total, self.computed)), sum(map(_total, self.measured)))

    @property
    def compute_error(self) -> float:
        """Of the GPU that is worst, as a share of its compute buffer."""
        pairs = zip(self.computed[:-1], self.measured[:-1], strict=True)
        return max((_share(mine.compute, theirs.compute) for mine, theirs in pairs), key=abs)


def cells(measurer: Measurer, folder: Path, architecture: str) -> Iterator[Cell]:
    """All of one architecture. The header goes into ``folder``."""
    model = ARCHITECTURES[architecture]()
    path = model.write(folder / f"{architecture}.gguf")
    half = model.keys["block_count"] // 2
    ways: dict[str, dict[str, Any]] = {
        "1 GPU": {},
        "2 GPUs": {},
        "half the layers": {"n_gpu_layers": half},
        "half the experts": {"n_cpu_moe": half},
    }
    if "expert_count" not in model.keys:
        del ways["half the experts"]
    for placement, changes in ways.items():
        num_gpus = 2 if placement == "2 GPUs" else 1
        for configuration, knobs in CONFIGURATIONS.items():
            asked = msgspec.structs.replace(knobs, **changes)
            answer = measurer.measure(Topology((GPU,) * num_gpus), Question(str(path), asked))
            need = needs(Case(model, asked, num_gpus))
            yield Cell(
                architecture,
                placement,
                configuration,
                _measured(answer.devices),
                (*need.gpus, need.host),
                need.is_exact,
            )


def _measured(devices: tuple[DeviceUse, ...]) -> tuple[Use, ...]:
    gpus, host = [], Use()
    for use in devices:
        if use.is_host:
            host = replace(
                host,
                weights=host.weights + use.weights_bytes,
                cache=host.cache + use.cache_bytes,
                compute=host.compute + use.compute_bytes,
            )
        else:
            gpus.append(Use(use.weights_bytes, use.cache_bytes, use.compute_bytes))
    return (*gpus, host)


def _total(use: Use) -> int:
    return use.weights + use.cache + use.compute


def _share(mine: int, theirs: int) -> float:
    return (mine - theirs) / theirs
