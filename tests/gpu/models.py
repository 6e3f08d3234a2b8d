"""The models that are measured: of the true shape, in Q8_0, with weights of no sense."""

from dataclasses import dataclass

from tests.deploy.architectures import (
    Q8_0,
    RMS,
    Sizes,
    Synthetic,
    attention,
    blocks,
    experts,
    feed_forward,
    llama_moe,
    norms,
)


@dataclass(frozen=True, slots=True)
class Model:
    """``experts_on_cpu`` are the numbers of layers to try, none of a model without experts."""

    name: str
    shape: Synthetic
    experts_on_cpu: tuple[int, ...] = ()

    @property
    def num_vocabulary_tokens(self) -> int:
        return int(self.shape.keys["vocab_size"])


@dataclass(frozen=True, slots=True)
class Load:
    """What a server is asked for: so many streams, each of so many tokens."""

    streams: tuple[int, ...]
    num_prompt_tokens: int
    num_output_tokens: int
    num_context_tokens: int

    @property
    def num_slots(self) -> int:
        return max(self.streams)


def dense(size: Sizes) -> Synthetic:
    """A llama whose output shares the matrix of its input, as SmolLM2 has it."""
    layer = [*attention(size), *norms(size.width, "ffn_norm"), *feed_forward(size)]
    shapes = size.ends(tied=True, kind=Q8_0) + blocks(size.layers, lambda _: layer)
    return Synthetic("llama", size.keys() | RMS, shapes)


def mixture(size: Sizes, num_experts: int) -> Synthetic:
    layer = [
        *attention(size),
        *norms(size.width, "ffn_norm"),
        *experts(size, num_experts, size.feed),
    ]
    keys = {"expert_count": num_experts, "expert_used_count": 2}
    shapes = size.ends(kind=Q8_0) + blocks(size.layers, lambda _: layer)
    return Synthetic("llama", size.keys() | RMS | keys, shapes)


def _smollm2(layers: int, width: int, heads: int, kv_heads: int, feed: int) -> Synthetic:
    return dense(Sizes(layers, width, heads, kv_heads, 64, feed, 49_152, Q8_0, 8192))


TRUE_MODELS = (
    Model("moe-8x3b-18.4b", llama_moe(), experts_on_cpu=(7, 14, 28)),
    Model("smollm2-135m", _smollm2(30, 576, 9, 3, 1536)),
    Model("smollm2-1.7b", _smollm2(24, 2048, 32, 32, 8192)),
)
TRUE_LOAD = Load((1, 8, 32), num_prompt_tokens=94, num_output_tokens=128, num_context_tokens=2048)

# For a rehearsal: the same stages, on any CPU, in seconds.
SMALL_MODELS = (
    Model(
        "tiny-moe",
        mixture(Sizes(4, 128, 4, 2, 32, 256, 49_408, Q8_0, 2048), 4),
        experts_on_cpu=(2,),
    ),
)
SMALL_LOAD = Load((1, 2), num_prompt_tokens=94, num_output_tokens=8, num_context_tokens=256)
