"""GGUF files with random weights that decode: a mixture of experts, a window, a recurrence."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import gguf
import numpy as np

EMBEDDING, LAYERS, HEADS, HEAD, FEED, CONTEXT = 64, 2, 2, 32, 128, 512
WINDOW = 24
INNER, STATE, KERNEL, RANK = 2 * EMBEDDING, 16, 4, 4  # of state spaces
BERT_CONTEXT = 48
PIECES = ["▁", "a", "e", "t", "▁the", "▁cat", "▁sat"]


class _File:
    """Collects one model; every tensor is random, norms are ones."""

    def __init__(self, path: Path, architecture: str, *, quantized: bool = False) -> None:
        self.quantized = quantized
        self.writer = gguf.GGUFWriter(path, architecture)
        self.random = np.random.default_rng(1)
        writer = self.writer
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(EMBEDDING)
        writer.add_block_count(LAYERS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_tokenizer_model("llama")
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
        writer.add_token_list(tokens)
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
        writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * len(PIECES)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_vocab_size(len(tokens))
        self.weight("token_embd.weight", len(tokens), EMBEDDING)

    def weight(self, name: str, *shape: int) -> None:
        """Quantized, products are the same bit by bit however many rows a batch has."""
        values = self.random.normal(0, 0.2, shape).astype(np.float32)
        if not self.quantized or len(shape) == 1 or shape[-1] % 32:
            self.writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            self.writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    def ones(self, name: str, *shape: int) -> None:
        self.writer.add_tensor(name, np.ones(shape, np.float32))

    def attention_header(self, kv_heads: int | list[int] = HEADS) -> None:
        self.writer.add_feed_forward_length(FEED)
        self.writer.add_head_count(HEADS)
        self.writer.add_head_count_kv(kv_heads)
        self.writer.add_key_length(HEAD)
        self.writer.add_value_length(HEAD)
        self.writer.add_rope_dimension_count(HEAD)

    def attention(self) -> None:
        """Everything of a transformer but the feed-forward part."""
        self.attention_header()
        self.ones("output_norm.weight", EMBEDDING)
        for layer in range(LAYERS):
            self.ones(f"blk.{layer}.attn_norm.weight", EMBEDDING)
            self.ones(f"blk.{layer}.ffn_norm.weight", EMBEDDING)
            self.attention_weights(layer)

    def attention_weights(self, layer: int) -> None:
        for name in ("q", "k", "v"):
            self.weight(f"blk.{layer}.attn_{name}.weight", HEADS * HEAD, EMBEDDING)
        self.weight(f"blk.{layer}.attn_output.weight", EMBEDDING, HEADS * HEAD)

    def pooling(self, kind: int | None) -> None:
        if kind is not None:
            self.writer.add_uint32(f"{self.writer.arch}.pooling_type", kind)

    def t5_half(self, half: str, attentions: list[str]) -> None:
        self.weight(f"{half}.blk.0.attn_rel_b.weight", 8, HEADS)
        self.ones(f"{half}.output_norm.weight", EMBEDDING)
        for layer in range(LAYERS):
            block = f"{half}.blk.{layer}"
            for attention in attentions:
                self.ones(f"{block}.{attention}_norm.weight", EMBEDDING)
                for name in "qkvo":
                    self.weight(f"{block}.{attention}_{name}.weight", EMBEDDING, EMBEDDING)
            self.ones(f"{block}.ffn_norm.weight", EMBEDDING)
            self.weight(f"{block}.ffn_up.weight", FEED, EMBEDDING)
            self.weight(f"{block}.ffn_down.weight", EMBEDDING, FEED)

    def close(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()

    def experts(self, layer: int, num_experts: int) -> None:
        block = f"blk.{layer}"
        self.weight(f"{block}.ffn_gate_inp.weight", num_experts, EMBEDDING)
        self.weight(f"{block}.ffn_gate_exps.weight", num_experts, FEED, EMBEDDING)
        self.weight(f"{block}.ffn_up_exps.weight", num_experts, FEED, EMBEDDING)
        self.weight(f"{block}.ffn_down_exps.weight", num_experts, EMBEDDING, FEED)

    def feed_forward(self, layer: int) -> None:
        for name in ("gate", "up"):
            self.weight(f"blk.{layer}.ffn_{name}.weight", FEED, EMBEDDING)
        self.weight(f"blk.{layer}.ffn_down.weight", EMBEDDING, FEED)

    def state_space_header(self) -> None:
        self.writer.add_ssm_conv_kernel(KERNEL)
        self.writer.add_ssm_inner_size(INNER)
        self.writer.add_ssm_state_size(STATE)
        self.writer.add_ssm_time_step_rank(RANK)

    def state_space(self, layer: int) -> None:
        """One layer of a mamba, whose state fades over about a hundred tokens."""
        block = f"blk.{layer}"
        self.weight(f"{block}.ssm_in.weight", 2 * INNER, EMBEDDING)
        self.weight(f"{block}.ssm_conv1d.weight", INNER, KERNEL)
        self.weight(f"{block}.ssm_conv1d.bias", INNER)
        self.weight(f"{block}.ssm_x.weight", RANK + 2 * STATE, INNER)
        self.weight(f"{block}.ssm_dt.weight", INNER, RANK)
        self.weight(f"{block}.ssm_dt.bias", INNER)
        self.writer.add_tensor(f"{block}.ssm_a", np.full((INNER, STATE), -0.01, np.float32))
        self.ones(f"{block}.ssm_d", INNER)
        self.weight(f"{block}.ssm_out.weight", EMBEDDING, INNER)


def write_mixture(path: Path, *, quantized: bool = False) -> None:
    """A llama with 4 experts a layer, 2 of them used."""
    file = _File(path, "llama", quantized=quantized)
    file.attention()
    file.writer.add_expert_count(4)
    file.writer.add_expert_used_count(2)
    for layer in range(LAYERS):
        file.experts(layer, 4)
    file.close()


def write_expert_choice(path: Path, *, quantized: bool = False) -> None:
    """A qwen3moe with 4 experts a layer, 2 of them used."""
    file = _File(path, "qwen3moe", quantized=quantized)
    file.attention()
    file.writer.add_expert_count(4)
    file.writer.add_expert_used_count(2)
    file.writer.add_expert_feed_forward_length(FEED)
    for layer in range(LAYERS):
        for name in ("attn_q_norm", "attn_k_norm"):
            file.ones(f"blk.{layer}.{name}.weight", HEAD)
        file.experts(layer, 4)
    file.close()


def write_sliding_window(path: Path, *, quantized: bool = False) -> None:
    """A gemma3: a layer that sees 24 tokens, the newest included, then one that sees all."""
    file = _File(path, "gemma3", quantized=quantized)
    file.attention()
    file.writer.add_sliding_window(WINDOW)
    file.writer.add_sliding_window_pattern(2)
    for layer in range(LAYERS):
        for name in ("attn_q_norm", "attn_k_norm"):
            file.ones(f"blk.{layer}.{name}.weight", HEAD)
        for name in ("post_attention_norm", "post_ffw_norm"):
            file.ones(f"blk.{layer}.{name}.weight", EMBEDDING)
        file.feed_forward(layer)
    file.close()


def write_recurrent(path: Path, *, quantized: bool = False) -> None:
    """A mamba."""
    file = _File(path, "mamba", quantized=quantized)
    file.ones("output_norm.weight", EMBEDDING)
    file.writer.add_feed_forward_length(0)
    file.writer.add_head_count(0)
    file.state_space_header()
    for layer in range(LAYERS):
        file.ones(f"blk.{layer}.attn_norm.weight", EMBEDDING)
        file.state_space(layer)
    file.close()


def write_hybrid(path: Path, *, quantized: bool = False) -> None:
    """A jamba: a layer of mamba, then one of attention."""
    file = _File(path, "jamba", quantized=quantized)
    file.state_space_header()
    file.attention_header(kv_heads=[0, HEADS])
    file.ones("output_norm.weight", EMBEDDING)
    for layer in range(LAYERS):
        file.ones(f"blk.{layer}.attn_norm.weight", EMBEDDING)
        file.ones(f"blk.{layer}.ffn_norm.weight", EMBEDDING)
        file.feed_forward(layer)
    file.state_space(0)
    file.ones("blk.0.ssm_dt_norm.weight", RANK)
    file.ones("blk.0.ssm_b_norm.weight", STATE)
    file.ones("blk.0.ssm_c_norm.weight", STATE)
    file.attention_weights(1)
    file.close()


def write_encoder(
    path: Path, architecture: str = "t5encoder", *, pooling: int | None = None
) -> None:
    """The encoder of a T5, or with ``architecture`` t5 the decoder too."""
    file = _File(path, architecture)
    file.pooling(pooling)
    file.attention_header()
    file.writer.add_relative_attn_buckets_count(8)
    file.t5_half("enc", ["attn"])
    if architecture == "t5":
        file.t5_half("dec", ["attn", "cross_attn"])
    file.close()


def write_adapter(path: Path, *, layers: int, embedding: int) -> None:
    """A random LoRA of rank 4 on the queries of a llama."""
    random = np.random.default_rng(2)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for layer in range(layers):
        name = f"blk.{layer}.attn_q.weight"
        shapes = {"a": (4, embedding), "b": (embedding, 4)}
        for half, shape in shapes.items():
            values = random.normal(0, 0.2, shape).astype(np.float32)
            writer.add_tensor(f"{name}.lora_{half}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_bert(path: Path, pooling: gguf.PoolingType | None = None) -> None:
    """A BERT with a WordPiece vocabulary; everything is random, norms and biases too.

    Without ``pooling`` its header does not even tell that it is no causal model.
    """
    random = np.random.default_rng(3)
    writer = gguf.GGUFWriter(path, "bert")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(ord("a") + number) for number in range(26)]
    words = ["▁the", "▁cat", "▁sat", "▁.", *(f"▁{letter}" for letter in letters), *letters]
    _write_bert_header(writer, [*special, *words], pooling)

    def weight(name: str, *shape: int, mean: float = 0.0) -> None:
        writer.add_tensor(name, random.normal(mean, 0.2, shape).astype(np.float32))

    weight("token_embd.weight", len(special) + len(words), EMBEDDING)
    weight("token_types.weight", 2, EMBEDDING)
    weight("position_embd.weight", BERT_CONTEXT, EMBEDDING)
    norms = ["token_embd_norm"]
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norms += [f"{block}.attn_output_norm", f"{block}.layer_output_norm"]
        shapes = dict.fromkeys(
            ("attn_q", "attn_k", "attn_v", "attn_output"), (EMBEDDING, EMBEDDING)
        ) | {"ffn_up": (FEED, EMBEDDING), "ffn_down": (EMBEDDING, FEED)}
        for name, shape in shapes.items():
            weight(f"{block}.{name}.weight", *shape)
            weight(f"{block}.{name}.bias", shape[0])
    for norm in norms:
        weight(f"{norm}.weight", EMBEDDING, mean=1.0)
        weight(f"{norm}.bias", EMBEDDING)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_bert_header(
    writer: gguf.GGUFWriter, tokens: list[str], pooling: gguf.PoolingType | None
) -> None:
    writer.add_context_length(BERT_CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-6)
    if pooling is not None:
        writer.add_causal_attention(value=False)
        writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 5 + [1] * (len(tokens) - 5))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)


def write_plain(
    path: Path,
    architecture: str = "llama",
    *,
    pooling: int | None = None,
    causal: bool = True,
    quantized: bool = False,
) -> None:
    """A llama, or what has the tensors of one."""
    file = _File(path, architecture, quantized=quantized)
    file.attention()
    file.writer.add_causal_attention(causal)
    file.pooling(pooling)
    for layer in range(LAYERS):
        file.feed_forward(layer)
    file.close()


WRITERS: dict[str, Callable[..., None]] = {
    "llama": write_plain,
    "mixture": write_mixture,
    "qwen3moe": write_expert_choice,
    "hybrid": write_hybrid,
    "sliding-window": write_sliding_window,
    "recurrent": write_recurrent,
    "encoder": write_encoder,
    "bert": partial(write_bert, pooling=gguf.PoolingType.MEAN),
    "bert-cls": partial(write_bert, pooling=gguf.PoolingType.CLS),
    "bert-untold": write_bert,
    "bidirectional-decoder": partial(write_plain, causal=False),
    "encoder-cls": partial(write_encoder, pooling=gguf.PoolingType.CLS),
    "bidirectional-cls": partial(write_plain, causal=False, pooling=gguf.PoolingType.CLS),
    "unknown-pooling": partial(write_plain, pooling=7),
    "encoder-decoder": partial(write_encoder, architecture="t5"),
    "reranker": partial(write_bert, pooling=gguf.PoolingType.RANK),
    "embedding-decoder": partial(write_plain, pooling=gguf.PoolingType.LAST),
    "diffusion": partial(write_plain, architecture="llada"),
}
