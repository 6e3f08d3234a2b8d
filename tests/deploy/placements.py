"""Placements as the planner makes them, for tests of what carries them out."""

from gguf_deploy.planning.startup import parse_storage, startup
from gguf_server.knobs import Adapter, Knobs
from gguf_server.models.measurement import DeviceUse
from gguf_server.models.placement import (
    Need,
    Part,
    PlacedGpu,
    PlacedModel,
    Placement,
    Speed,
    counted,
)

COMMIT = "1e10" + "7" * 36  # to some parsers of YAML such a commit is a number
MIB = 1 << 20

_MOE_8X3B = PlacedModel(
    reference=f"acme/moe-8x3b-gguf@{COMMIT}:Q8_0",
    name="acme/moe-8x3b-gguf",
    commit=COMMIT,
    label="Q8_0",
    architecture="llama",
    size_bytes=19_560_000_000,
    active_bytes=7_000_000_000,
    num_params=18_400_000_000,
    num_active_params=6_600_000_000,
    num_layers=28,
    num_experts=8,
    train_context_tokens=131_072,
)
_SMALL = PlacedModel(
    reference="/models/$HOME/small: one.gguf",
    name="small: one",
    commit="",
    label="Q4_K_M",
    architecture="qwen2",
    size_bytes=100_000_000,
    active_bytes=100_000_000,
    num_params=160_000_000,
    num_active_params=160_000_000,
    num_layers=24,
    num_experts=0,
    train_context_tokens=4096,
)
_LARGE_MOE = PlacedModel(
    reference=f"acme/large-moe-GGUF@{COMMIT}:large/Q4_K_M-00001-of-00009.gguf",
    name="acme/large-moe-GGUF",
    commit=COMMIT,
    label="UD-Q4_K_XL",
    architecture="deepseek2",
    size_bytes=380_000_000_000,
    active_bytes=22_000_000_000,
    num_params=671_000_000_000,
    num_active_params=37_000_000_000,
    num_layers=61,
    num_experts=256,
    train_context_tokens=163_840,
)


def moe_on_l40s() -> Placement:
    """8 x 3B, 18.4B parameters, Q8_0."""
    return Placement(
        llama_cpp="0.3.36",
        model=_MOE_8X3B,
        gpu=PlacedGpu(name="L40S", count=1, memory_bytes=46_068 * MIB, modal_name="L40S"),
        knobs=Knobs(context_tokens=8192, cache_type_k="q8_0", cache_type_v="q8_0"),
        devices=(_need("CUDA0", 46_068, weights=18_300, cache=3_660, compute=279, context=616),),
        host=_need("host", 64_000, weights=410, cache=0, compute=40, context=900),
        startup=startup(_MOE_8X3B.size_bytes, parse_storage("pd"), on_gpu=True, num_gpus=1),
        speed=Speed(one_stream_tokens_per_second=120.0, all_slots_tokens_per_second=600.0),
        price_per_hour=1.95,
    )


def dense_on_cpu() -> Placement:
    """A small one from a file: there is no commit, and nothing to fetch."""
    storage = parse_storage("nvme")
    return Placement(
        llama_cpp="0.3.36",
        model=_SMALL,
        gpu=None,
        knobs=Knobs(
            context_tokens=4096,
            slots=2,
            embeddings=True,
            lora=(Adapter("/a.gguf"), Adapter("/b:0.gguf")),
        ),
        devices=(),
        host=_need("host", 8_000, weights=96, cache=190, compute=100, context=300),
        startup=startup(_SMALL.size_bytes, storage, on_gpu=False, num_gpus=0, fetch=False),
        speed=None,
        price_per_hour=None,
    )


def experts_on_cpu_with_two_gpus() -> Placement:
    storage = parse_storage("nfs")
    return Placement(
        llama_cpp="0.3.36",
        model=_LARGE_MOE,
        gpu=PlacedGpu(name="A100-80GB", count=2, memory_bytes=81_920 * MIB, modal_name="A100-80GB"),
        knobs=Knobs(
            context_tokens=32_768,
            slots=4,
            retained_prefixes=4,
            kv_layout="unified",
            kv_cells=131_072,
            flash_attention="on",
            n_cpu_moe=40,
            tensor_split=(0.1 + 0.2, 1e-05, 1.0),
            max_batch_tokens=1024,
        ),
        devices=(
            _need("CUDA0", 81_920, weights=60_000, cache=4_000, compute=3_000, context=616),
            _need("CUDA1", 81_920, weights=62_000, cache=4_100, compute=2_500, context=616),
        ),
        host=_need("host", 512_000, weights=240_000, cache=0, compute=900, context=2_000),
        startup=startup(
            _LARGE_MOE.size_bytes, storage, on_gpu=True, num_gpus=2, fits_in_host_memory=False
        ),
        speed=None,
        price_per_hour=None,
        changes=("the experts of 40 of 61 layers are on the CPU",),
    )


ALL = (moe_on_l40s, dense_on_cpu, experts_on_cpu_with_two_gpus)


def _need(
    name: str, there_mib: int, *, weights: int, cache: int, compute: int, context: int
) -> Need:
    sizes = (size * MIB + 1 for size in (weights, cache, compute))
    use = DeviceUse(name, name == "host", *sizes)
    parts = (*counted(use), Part("CUDA context", context * MIB + 1))
    return Need(name, there_mib * MIB, parts)
