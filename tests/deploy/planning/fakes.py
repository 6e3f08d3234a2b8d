"""GPUs, models, and a llama.cpp that counts by a straight line: for what is decided with that."""

from pathlib import Path

from gguf_deploy.hardware import Gpu
from gguf_server.knobs import Knobs
from gguf_server.models.blueprint import Blueprint
from gguf_server.models.gguf.description import Description
from gguf_server.models.measurement import DeviceUse, Measurement

GIB = 1 << 30
LAYERS = 20
CACHE_PER_TOKEN = 100_000


def gpu(name: str, gibibytes: float, price: float | None = None, speed: float = 1e12) -> Gpu:
    return Gpu(
        name=name,
        memory_bytes=int(gibibytes * GIB),
        bandwidth_bytes_per_second=int(speed),
        compute_capability=(8, 9),
        price_per_hour=price,
    )


SMALL, MIDDLE, LARGE = gpu("small", 8, 0.5), gpu("middle", 24, 1.5), gpu("large", 80, 1.0, 4e12)


def blueprint(gibibytes: float, *, label: str = "Q8_0", experts: int = 0) -> Blueprint:
    """Half of the weights of a mixture are its experts."""
    size = int(gibibytes * GIB)
    description = Description(
        architecture="llama", kind="model", name="", num_params=size, num_active_params=size,
        num_experts=experts, num_experts_used=min(experts, 2), context_tokens=32_768,
        num_layers=LAYERS, num_heads=8, num_kv_heads=8, embedding_size=64, vocab_size=1000,
        tensor_bytes={}, label=label, chat_template="", tokenizer="", license="", base_models=(),
        size_bytes=size, active_bytes=size, expert_bytes=size // 2 if experts else 0,
        largest_bf16_matrix=0,
    )  # fmt: skip
    return Blueprint(
        path=Path(label),
        reference=f"org/repo:{label}",
        name="org/repo",
        commit="c" * 40,
        label=label,
        reason="the only model",
        size_bytes=size,
        description=description,
    )


def measure(model: Blueprint, knobs: Knobs, count: int) -> Measurement:
    """A model of layers of one size, as llama.cpp would spread them."""
    size = model.size_bytes
    context = knobs.context_tokens or 4096
    on_gpu = LAYERS + 1 if knobs.n_gpu_layers < 0 else min(knobs.n_gpu_layers, LAYERS + 1)
    layer_bytes = size // (LAYERS + 1)
    expert_bytes = model.description.expert_bytes // LAYERS
    away = min(knobs.n_cpu_moe, LAYERS) * expert_bytes
    cache = knobs.slots * context * CACHE_PER_TOKEN
    weights = layer_bytes * on_gpu - away if count else 0
    gpus = tuple(
        DeviceUse(
            f"CUDA{index}",
            is_host=False,
            weights_bytes=weights // count,
            cache_bytes=cache * on_gpu // (LAYERS + 1) // count,
            compute_bytes=GIB // 8,
        )
        for index in range(count)
    )
    host_cache = cache if not count else cache * (LAYERS + 1 - on_gpu) // (LAYERS + 1)
    host = DeviceUse("CPU", True, size - weights, host_cache, 0)
    return Measurement(
        devices=(*gpus, host),
        output_bytes=0,
        num_layers=LAYERS,
        context_tokens=context,
        train_context_tokens=32_768,
        generates=True,
        llama_cpp="b1",
    )
