"""The options that decide how much memory a server needs: what it is given, what is measured for a
plan, and what the plan says are these.
"""

from typing import Literal

from msgspec import Struct

MAX_SLOT_IDS = 256  # LLAMA_MAX_SEQ

KvLayout = Literal["split", "unified"]
FlashAttention = Literal["auto", "on", "off"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]


class Adapter(Struct, frozen=True):
    """A LoRA adapter applied to every request at ``scale``."""

    path: str
    scale: float = 1.0


class Knobs(Struct, frozen=True, kw_only=True):
    """``context_tokens`` is what one sequence may hold, prompt and output together; 0 takes the
    model's own within reason. ``kv_cells`` counts cells of the whole unified cache; 0 means
    ``slots * context_tokens``. ``n_gpu_layers`` -1 means all. ``embeddings`` gives a model that
    generates a second context, for embeddings; a model that can only embed needs no asking.
    """

    context_tokens: int = 0
    slots: int = 8
    retained_prefixes: int = 0
    kv_layout: KvLayout = "split"
    kv_cells: int = 0
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    flash_attention: FlashAttention = "auto"
    n_gpu_layers: int = -1
    n_cpu_moe: int = 0
    tensor_split: tuple[float, ...] = ()
    max_batch_tokens: int = 512
    embeddings: bool = False
    lora: tuple[Adapter, ...] = ()


def option_name(knob: str) -> str:
    """As the server declares it: all but one are named alike."""
    return "context" if knob == "context_tokens" else knob
