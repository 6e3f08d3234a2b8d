"""Headers of models as large as the real ones, of every kind of memory; their data are a hole.

They carry no tokenizer: measuring needs none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gguf_files import Shape, write_sparse

F32, Q8_0, Q4_K, Q6_K, BF16, MXFP4 = 0, 8, 12, 14, 30, 39
RMS = {"attention.layer_norm_rms_epsilon": 1e-5}


@dataclass(frozen=True)
class Synthetic:
    """``keys`` are without their prefix, the architecture."""

    architecture: str
    keys: Mapping[str, Any]
    shapes: Sequence[Shape]

    def write(self, path: Path) -> Path:
        metadata: dict[str, Any] = {
            "general.architecture": self.architecture,
            "tokenizer.ggml.model": "none",
        }
        for key, value in self.keys.items():
            metadata[key if key.startswith("tokenizer.") else f"{self.architecture}.{key}"] = value
        return write_sparse(path, metadata, self.shapes)


@dataclass(frozen=True)
class Sizes:
    """Of a transformer. ``kind`` is the type of most weights."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    feed: int
    vocabulary: int
    kind: int = Q4_K
    trained: int = 131_072

    def keys(self) -> dict[str, Any]:
        return {
            "context_length": self.trained,
            "embedding_length": self.width,
            "block_count": self.layers,
            "feed_forward_length": self.feed,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head,
            "attention.value_length": self.head,
            "rope.dimension_count": self.head,
            "vocab_size": self.vocabulary,
        }

    def ends(self, *, tied: bool = False, kind: int = Q6_K) -> list[Shape]:
        embedding: list[Shape] = [
            ("token_embd.weight", (self.width, self.vocabulary), kind),
            ("output_norm.weight", (self.width,), F32),
        ]
        output: list[Shape] = [("output.weight", (self.width, self.vocabulary), kind)]
        return embedding if tied else embedding + output


def blocks(layers: int, block: Callable[[int], Iterable[Shape]]) -> list[Shape]:
    """The tensors of all layers, of each by its number."""
    return [
        (f"blk.{layer}.{name}", dimensions, kind)
        for layer in range(layers)
        for name, dimensions, kind in block(layer)
    ]


def attention(size: Sizes, kind: int | None = None) -> list[Shape]:
    kind = size.kind if kind is None else kind
    inner, shared = size.heads * size.head, size.kv_heads * size.head
    return [
        ("attn_norm.weight", (size.width,), F32),
        ("attn_q.weight", (size.width, inner), kind),
        ("attn_k.weight", (size.width, shared), kind),
        ("attn_v.weight", (size.width, shared), kind),
        ("attn_output.weight", (inner, size.width), kind),
    ]


def feed_forward(size: Sizes, suffix: str = "", feed: int = 0) -> list[Shape]:
    feed = feed or size.feed
    return [
        (f"ffn_gate{suffix}.weight", (size.width, feed), size.kind),
        (f"ffn_down{suffix}.weight", (feed, size.width), _fitting(size.kind, feed)),
        (f"ffn_up{suffix}.weight", (size.width, feed), size.kind),
    ]


def experts(size: Sizes, count: int, feed: int) -> list[Shape]:
    return [
        ("ffn_gate_inp.weight", (size.width, count), F32),
        ("ffn_gate_exps.weight", (size.width, feed, count), size.kind),
        ("ffn_down_exps.weight", (feed, size.width, count), _fitting(size.kind, feed)),
        ("ffn_up_exps.weight", (size.width, feed, count), size.kind),
    ]


def norms(width: int, *names: str) -> list[Shape]:
    return [(f"{name}.weight", (width,), F32) for name in names]


def biases(**sizes: int) -> list[Shape]:
    return [(f"{name}.bias", (size,), F32) for name, size in sizes.items()]


def _fitting(kind: int, row: int) -> int:
    """Rows that are no whole blocks are of another type, as in real files."""
    return Q8_0 if kind == Q4_K and row % 256 else kind


# --- transformers ------------------------------------------------------------------------------


def llama() -> Synthetic:
    size = Sizes(32, 4096, 32, 8, 128, 14336, 128_256)
    layer = [*attention(size), *norms(size.width, "ffn_norm"), *feed_forward(size)]
    return Synthetic("llama", size.keys() | RMS, size.ends() + blocks(size.layers, lambda _: layer))


def llama_moe() -> Synthetic:
    """8 experts of 3B, 18.4B parameters in all, 19.6 GB."""
    size = Sizes(28, 3072, 24, 8, 128, 8192, 128_256, Q8_0)
    layer = [*attention(size), *norms(size.width, "ffn_norm"), *experts(size, 8, size.feed)]
    keys = {"expert_count": 8, "expert_used_count": 2}
    shapes = size.ends(kind=Q8_0) + blocks(size.layers, lambda _: layer)
    return Synthetic("llama", size.keys() | RMS | keys, shapes)


def qwen2() -> Synthetic:
    size = Sizes(28, 3584, 28, 4, 128, 18944, 152_064)
    layer = [
        *attention(size),
        *biases(attn_q=3584, attn_k=512, attn_v=512),
        *norms(size.width, "ffn_norm"),
        *feed_forward(size),
    ]
    return Synthetic("qwen2", size.keys() | RMS, size.ends() + blocks(size.layers, lambda _: layer))


def qwen3moe() -> Synthetic:
    size = Sizes(48, 2048, 32, 4, 128, 6144, 151_936)
    layer = [
        *attention(size),
        *norms(size.head, "attn_q_norm", "attn_k_norm"),
        *norms(size.width, "ffn_norm"),
        *experts(size, 128, 768),
    ]
    keys = {"expert_count": 128, "expert_used_count": 8, "expert_feed_forward_length": 768}
    return Synthetic(
        "qwen3moe", size.keys() | RMS | keys, size.ends() + blocks(size.layers, lambda _: layer)
    )


def gemma3() -> Synthetic:
    """Five layers of six see 1024 tokens. Its output is its embedding."""
    size = Sizes(48, 3840, 16, 8, 256, 15360, 262_208)
    layer = [
        *attention(size),
        *norms(size.head, "attn_q_norm", "attn_k_norm"),
        *norms(size.width, "post_attention_norm", "ffn_norm", "post_ffw_norm"),
        *feed_forward(size),
    ]
    keys = {"attention.sliding_window": 1024}
    shapes = size.ends(tied=True) + blocks(size.layers, lambda _: layer)
    return Synthetic("gemma3", size.keys() | RMS | keys, shapes)


def gpt_oss() -> Synthetic:
    """Every other layer sees 128 tokens."""
    size = Sizes(24, 2880, 64, 8, 64, 2880, 201_088, MXFP4)
    layer = [
        *attention(size, BF16),
        *biases(attn_q=4096, attn_k=512, attn_v=512, attn_output=2880, ffn_gate_inp=32),
        ("attn_sinks.weight", (size.heads,), F32),
        *norms(size.width, "post_attention_norm"),
        *experts(size, 32, size.feed),
        *((f"ffn_{name}_exps.bias", (2880, 32), F32) for name in ("gate", "up", "down")),
    ]
    keys = {
        "attention.sliding_window": 128,
        "expert_count": 32,
        "expert_used_count": 4,
        "expert_feed_forward_length": size.feed,
    }
    shapes = size.ends(kind=BF16) + blocks(size.layers, lambda _: layer)
    return Synthetic("gpt-oss", size.keys() | RMS | keys, shapes)


def phi3() -> Synthetic:
    """Its projections are fused. Heads of 96 elements, one of keys for each."""
    size = Sizes(32, 3072, 32, 32, 96, 8192, 32_064)
    layer = [
        ("attn_qkv.weight", (3072, 3 * 3072), Q4_K),
        ("attn_output.weight", (3072, 3072), Q4_K),
        *norms(size.width, "attn_norm", "ffn_norm"),
        ("ffn_up.weight", (3072, 2 * 8192), Q4_K),
        ("ffn_down.weight", (8192, 3072), Q4_K),
    ]
    return Synthetic("phi3", size.keys() | RMS, size.ends() + blocks(size.layers, lambda _: layer))


def bert() -> Synthetic:
    """Large: vectors of 1024. It keeps nothing of what it read."""
    size = Sizes(24, 1024, 16, 16, 64, 4096, 30_522, Q8_0, trained=512)
    layer = [
        *attention(size)[1:],
        ("ffn_up.weight", (1024, 4096), Q8_0),
        ("ffn_down.weight", (4096, 1024), Q8_0),
        *norms(1024, "attn_output_norm", "layer_output_norm"),
        *biases(attn_q=1024, attn_k=1024, attn_v=1024, attn_output=1024, ffn_down=1024),
        *biases(ffn_up=4096, attn_output_norm=1024, layer_output_norm=1024),
    ]
    ends: list[Shape] = [
        ("token_embd.weight", (1024, size.vocabulary), Q8_0),
        ("token_types.weight", (1024, 2), F32),
        ("position_embd.weight", (1024, 512), F32),
        *norms(1024, "token_embd_norm"),
        *biases(token_embd_norm=1024),
    ]
    keys = {
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 2,
        "tokenizer.ggml.token_type_count": 2,
    }
    return Synthetic("bert", size.keys() | keys, ends + blocks(size.layers, lambda _: layer))


# --- latent attention --------------------------------------------------------------------------


def deepseek(size: Sizes, queries: int, count: int, feed: int, shared: int) -> Synthetic:
    """Keys and values are one vector of 512 and 64 elements for all heads. The first layers have
    no experts; ``queries`` is the rank of the queries, 0 for none."""
    dense = 3 if queries else 1
    latent, rope, head = 512, 64, 128
    wide = size.heads * (head + rope)
    asked: list[Shape] = [("attn_q.weight", (size.width, wide), size.kind)]
    if queries:
        asked = [
            *norms(queries, "attn_q_a_norm"),
            ("attn_q_a.weight", (size.width, queries), size.kind),
            ("attn_q_b.weight", (queries, wide), size.kind),
        ]
    common = [
        *norms(size.width, "attn_norm", "ffn_norm"),
        *norms(latent, "attn_kv_a_norm"),
        *asked,
        ("attn_kv_a_mqa.weight", (size.width, latent + rope), size.kind),
        ("attn_k_b.weight", (head, latent, size.heads), Q8_0),
        ("attn_v_b.weight", (latent, head, size.heads), Q8_0),
        ("attn_output.weight", (size.heads * head, size.width), size.kind),
    ]
    mixed = [*experts(size, count, feed), *feed_forward(size, "_shexp", shared * feed)]
    keys = {
        "attention.head_count_kv": 1,
        "attention.key_length": latent + rope,
        "attention.value_length": latent,
        "attention.key_length_mla": head + rope,
        "attention.value_length_mla": head,
        "attention.kv_lora_rank": latent,
        "rope.dimension_count": rope,
        "expert_count": count,
        "expert_used_count": 8 if queries else 6,
        "expert_shared_count": shared,
        "expert_feed_forward_length": feed,
        "leading_dense_block_count": dense,
    } | ({"attention.q_lora_rank": queries} if queries else {})
    shapes = size.ends() + blocks(
        size.layers, lambda layer: common + (feed_forward(size) if layer < dense else mixed)
    )
    return Synthetic("deepseek2", size.keys() | RMS | keys, shapes)


def deepseek_lite() -> Synthetic:
    return deepseek(Sizes(27, 2048, 16, 1, 128, 10944, 102_400), 0, 64, 1408, 2)


def deepseek_671b() -> Synthetic:
    return deepseek(Sizes(61, 7168, 128, 1, 128, 18432, 129_280), 1536, 256, 2048, 1)


# --- state spaces ------------------------------------------------------------------------------


def mamba() -> Synthetic:
    width, inner, state, rank, vocabulary = 2560, 5120, 16, 160, 50_280
    layer: list[Shape] = [
        *norms(width, "attn_norm"),
        ("ssm_in.weight", (width, 2 * inner), Q4_K),
        ("ssm_conv1d.weight", (4, inner), F32),
        ("ssm_x.weight", (inner, rank + 2 * state), Q4_K),
        ("ssm_dt.weight", (rank, inner), F32),
        *biases(ssm_conv1d=inner, ssm_dt=inner),
        ("ssm_a", (state, inner), F32),
        ("ssm_d", (inner,), F32),
        ("ssm_out.weight", (inner, width), Q4_K),
    ]
    keys = {
        "context_length": 1_048_576,
        "embedding_length": width,
        "block_count": 64,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "vocab_size": vocabulary,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    ends: list[Shape] = [
        ("token_embd.weight", (width, vocabulary), Q6_K),
        ("output_norm.weight", (width,), F32),
    ]
    return Synthetic("mamba", keys | RMS, ends + blocks(64, lambda _: layer))


def mamba2(width: int, inner: int, state: int, heads: int, groups: int) -> list[Shape]:
    wide = inner + 2 * groups * state
    return [
        ("ssm_in.weight", (width, inner + wide + heads), Q4_K),
        ("ssm_conv1d.weight", (4, wide), F32),
        *biases(ssm_conv1d=wide, ssm_dt=heads),
        ("ssm_a", (1, heads), F32),
        ("ssm_d", (1, heads), F32),
        ("ssm_norm.weight", (inner // groups, groups), F32),
        ("ssm_out.weight", (inner, width), Q4_K),
    ]


def mamba2_keys(inner: int, state: int, heads: int, groups: int) -> dict[str, int]:
    return {
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": heads,
        "ssm.group_count": groups,
    }


def granite_hybrid() -> Synthetic:
    """Every tenth layer has attention, the others a state; all have experts."""
    size = Sizes(40, 4096, 32, 8, 128, 768, 100_352)
    space = (8192, 128, 128, 1)
    attentive = [5, 15, 25, 35]
    mixed = [
        *norms(size.width, "ffn_norm"),
        *experts(size, 72, 768),
        *feed_forward(size, "_shexp", 1536),
    ]

    def layer(number: int) -> list[Shape]:
        states = [*norms(size.width, "attn_norm"), *mamba2(size.width, *space)]
        return [*(attention(size) if number in attentive else states), *mixed]

    keys = {
        "attention.head_count_kv": [8 if layer in attentive else 0 for layer in range(40)],
        "expert_count": 72,
        "expert_used_count": 10,
        "expert_shared_feed_forward_length": 1536,
        **mamba2_keys(*space),
    }
    shapes = size.ends(tied=True) + blocks(size.layers, layer)
    return Synthetic("granitehybrid", size.keys() | RMS | keys, shapes)


def falcon_h1() -> Synthetic:
    """Attention and a state in every layer, side by side."""
    size = Sizes(44, 3072, 12, 2, 128, 12288, 130_048)
    space = (3072, 256, 24, 1)
    layer = [
        *attention(size),
        *mamba2(size.width, *space),
        ("ffn_norm", (size.width,), F32),  # so it is called
        *feed_forward(size),
    ]
    shapes = size.ends() + blocks(size.layers, lambda _: layer)
    return Synthetic("falcon-h1", size.keys() | RMS | mamba2_keys(*space), shapes)


ARCHITECTURES: Mapping[str, Callable[[], Synthetic]] = {
    "llama 8B": llama,
    "llama MoE 8x3B 18.4B": llama_moe,
    "qwen2 7B": qwen2,
    "qwen3moe 30B-A3B": qwen3moe,
    "gemma3 12B": gemma3,
    "gpt-oss 20B": gpt_oss,
    "phi3 mini": phi3,
    "bert large": bert,
    "deepseek2 lite": deepseek_lite,
    "deepseek2 671B": deepseek_671b,
    "mamba 2.8B": mamba,
    "granitehybrid 32B-A9B": granite_hybrid,
    "falcon-h1 7B": falcon_h1,
}
