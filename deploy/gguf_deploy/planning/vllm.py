"""A plan for vLLM, where a model has no GGUF file: an estimate. Pure.

llama.cpp cannot count such a model, and vLLM takes all of a GPU that it is given, whatever it
needs. So this tells on which GPUs the weights leave room to work, and nothing finer.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from gguf_deploy.planning.ask import Ask, Offer, Preference
from gguf_deploy.planning.calibration import (
    AMPERE,
    CUDA_CONTEXT_BYTES,
    VLLM_MEMORY_SHARE,
    VLLM_WEIGHTS_FACTOR,
)
from gguf_server.models.placement import PlacedGpu, Startup
from gguf_server.models.safetensors import Safetensors
from gguf_server.models.sizes import gibibytes

VERSION = 1
ESTIMATE = (
    f"an estimate, not measured: {VLLM_WEIGHTS_FACTOR:g} times the weights, and"
    f" {gibibytes(CUDA_CONTEXT_BYTES)} for each GPU, in the {VLLM_MEMORY_SHARE:.0%} of it that vLLM"
    " takes"
)

_COUNTS = (1, 2, 4, 8)
_MOST_CONTEXT = 4096  # tokens, where nobody asks for more; as the server has it


class VllmModel(Struct, frozen=True, kw_only=True):
    """``reference`` names it with its commit."""

    reference: str
    name: str
    commit: str
    architecture: str
    size_bytes: int


class VllmPlan(Struct, frozen=True, kw_only=True):
    """``needed_bytes`` are of each GPU, by ``estimate``. ``arguments`` are of ``vllm serve``,
    beside the model, its revision and the number of GPUs.
    """

    version: int = VERSION
    engine: str = "vllm"
    model: VllmModel
    gpu: PlacedGpu
    needed_bytes: int
    estimate: str = ESTIMATE
    arguments: tuple[str, ...]
    startup: Startup
    price_per_hour: float | None


class VllmTrial(Struct, frozen=True):
    """One offer."""

    offer: Offer
    needed_bytes: int

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.offer.memory_bytes

    @property
    def bandwidth(self) -> float:
        """Bytes a second, of all its GPUs."""
        gpu = self.offer.gpu
        return gpu.bandwidth_bytes_per_second * self.offer.count if gpu else 0.0


def trials(model: Safetensors, ask: Ask) -> list[VllmTrial]:
    """Of GPUs that compute bfloat16, which nearly all such models are in, and in numbers that
    divide the heads of nearly all.
    """
    return [
        VllmTrial(offer, _needed_bytes(model.size_bytes, offer.count))
        for offer in ask.offers
        if offer.gpu and offer.gpu.compute_capability >= AMPERE and offer.count in _COUNTS
    ]


def best(found: Sequence[VllmTrial], prefer: Preference) -> VllmTrial | None:
    """As the search for GGUF models prefers."""

    def preferred(trial: VllmTrial) -> tuple[float, ...]:
        match prefer:
            case "smallest":
                return trial.offer.size
            case "cost":
                return trial.offer.cost
            case "speed":
                return (-trial.bandwidth, *trial.offer.cost)

    return min((trial for trial in found if trial.fits), key=preferred, default=None)


def vllm_plan(model: Safetensors, trial: VllmTrial, ask: Ask, startup: Startup) -> VllmPlan:
    gpu = trial.offer.gpu
    assert gpu is not None
    return VllmPlan(
        model=VllmModel(
            reference=model.reference,
            name=model.name,
            commit=model.commit,
            architecture=model.architecture,
            size_bytes=model.size_bytes,
        ),
        gpu=PlacedGpu(
            name=gpu.name,
            count=trial.offer.count,
            memory_bytes=gpu.memory_bytes,
            modal_name=gpu.modal_name,
        ),
        needed_bytes=trial.needed_bytes,
        arguments=_arguments(model, ask),
        startup=startup,
        price_per_hour=trial.offer.price_per_hour,
    )


def _arguments(model: Safetensors, ask: Ask) -> tuple[str, ...]:
    """A context that nobody asked for is vLLM's to find where the model does not tell its own."""
    own = min(model.context_tokens, _MOST_CONTEXT)
    context = ask.knobs.context_tokens or own
    length = (f"--max-model-len={context}",) if context else ()
    return (*length, f"--max-num-seqs={ask.knobs.slots}")


def _needed_bytes(size_bytes: int, count: int) -> int:
    """Of each GPU, so that vLLM's share of it will do."""
    used_bytes = size_bytes * VLLM_WEIGHTS_FACTOR / count + CUDA_CONTEXT_BYTES
    return math.ceil(used_bytes / VLLM_MEMORY_SHARE)
