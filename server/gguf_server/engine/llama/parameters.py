"""From ``EngineConfig`` to llama.cpp's parameters. Pure."""

from collections.abc import Sequence

from gguf_server.engine.llama import binding
from gguf_server.wire.messages import DEFAULT_CONTEXT_TOKENS, EngineConfig

# Rows of logits beyond one for each sequence, for prompts whose tokens are scored.
SCORED_TOKENS = 64
# Inputs of one embedding batch, each a sequence of its own.
_EMBEDDING_INPUTS = 64
# The longest input where nobody says: llama.cpp makes room for the logits of all its tokens.
_DEFAULT_EMBEDDING_TOKENS = 2048
# llama.cpp keeps some 50 bytes of host memory for each cell, and counts them in 32 bits: beyond
# this it takes gigabytes, or wraps around.
MAX_CELLS = 1 << 26
_STREAM_UNIT = 256  # llama.cpp rounds each stream of a split cache up to this


def model_settings(config: EngineConfig) -> binding.Settings:
    return {
        "n_gpu_layers": config.n_gpu_layers,
        "load_mode": binding.LOAD_MODE[config.load_mode],
    }


def devices(config: EngineConfig) -> Sequence[int] | None:
    """None are all that there are; none at all leaves the CPU."""
    return () if config.device == "cpu" else None


def cpu_tensors(n_cpu_moe: int) -> Sequence[str]:
    """Patterns for the experts of the first layers, as llama.cpp's ``--n-cpu-moe`` has them."""
    return [rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps" for layer in range(n_cpu_moe)]


def num_cells(config: EngineConfig) -> int:
    """Of the whole cache, as asked for; the model may have a smaller context of its own."""
    context = config.context_tokens or DEFAULT_CONTEXT_TOKENS
    if config.kv_layout == "unified":
        return config.kv_cells or config.slots * context
    return context * num_sequences(config)


def num_sequences(config: EngineConfig) -> int:
    return config.slots + config.retained_prefixes


def context_tokens(config: EngineConfig, train_context_tokens: int) -> int:
    """What one sequence may hold: as asked for, else the model's own within reason."""
    return config.context_tokens or min(train_context_tokens, DEFAULT_CONTEXT_TOKENS)


def context_settings(config: EngineConfig, context_tokens: int) -> binding.Settings:
    """Unset rope settings stay the model's."""
    sequences = num_sequences(config)
    unified = config.kv_layout == "unified"
    stream_cells = -(-context_tokens // _STREAM_UNIT) * _STREAM_UNIT
    shared_cells = config.kv_cells or config.slots * context_tokens
    max_batch_tokens = max(config.max_batch_tokens, sequences)
    return {
        "n_ctx": shared_cells if unified else stream_cells * sequences,
        "kv_unified": unified,
        "n_seq_max": sequences,
        "n_batch": max_batch_tokens,
        "n_ubatch": max_batch_tokens,
        # Left at 0, llama.cpp reserves logits for every token of a batch.
        "n_outputs_max": sequences + SCORED_TOKENS,
        "n_threads": config.threads,
        "n_threads_batch": config.threads_batch,
        "type_k": binding.CACHE_TYPE[config.cache_type_k],
        "type_v": binding.CACHE_TYPE[config.cache_type_v],
        "flash_attn_type": binding.FLASH_ATTENTION[config.flash_attention],
        "rope_scaling_type": binding.ROPE_SCALING[config.rope_scaling],
        "rope_freq_base": config.rope_freq_base,
        "rope_freq_scale": config.rope_freq_scale,
        "yarn_orig_ctx": config.yarn_orig_ctx,
        # Cells that a window left behind would serve reuse only, at the price of full attention.
        "swa_full": False,
        "no_perf": True,
    }


def embedding_tokens(config: EngineConfig, train_context_tokens: int, *, generates: bool) -> int:
    """What one input may hold. It is computed in one piece, so this is also what a batch holds.

    Beside generation no batch is larger than its batches. Otherwise as asked for, else the
    model's own within reason; never more than it was trained on, where it may have no positions.
    """
    if generates:
        wanted = min(config.max_batch_tokens, context_tokens(config, train_context_tokens))
    else:
        wanted = config.context_tokens or _DEFAULT_EMBEDDING_TOKENS
    wanted = min(wanted, train_context_tokens)
    if config.context_tokens or generates or wanted < _EMBEDDING_INPUTS:
        return wanted
    return wanted - wanted % _EMBEDDING_INPUTS  # some models were trained on 514


def _embedding_sequences(max_tokens: int) -> int:
    """As many as will do. The tokens of a batch are divided evenly among them, or llama.cpp aborts
    when it sums them up.
    """
    most = min(_EMBEDDING_INPUTS, max_tokens)
    return next(count for count in range(most, 0, -1) if max_tokens % count == 0)


def embedding_settings(
    config: EngineConfig, max_tokens: int, *, pooling: str, one_by_one: bool
) -> binding.Settings:
    """A context of its own: pooling cannot be changed. ``pooling`` "" keeps the model's.

    All tokens of a batch are outputs, so their number must not be limited further.
    """
    settings = {
        **context_settings(config, max_tokens),
        "n_ctx": max_tokens,
        "kv_unified": True,
        "n_seq_max": 1 if one_by_one else _embedding_sequences(max_tokens),
        "n_batch": max_tokens,
        "n_ubatch": max_tokens,
        "n_outputs_max": max_tokens,
        "embeddings": True,
    }
    if pooling:
        settings["pooling_type"] = binding.POOLING[pooling]
    return settings
