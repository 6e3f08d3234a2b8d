"""From ``EngineConfig`` to llama.cpp's parameters. Pure."""

from collections.abc import Sequence

from gguf_server.engine.llama import binding
from gguf_server.wire.messages import DEFAULT_CONTEXT_TOKENS, EngineConfig

# Rows of logits beyond one for each sequence, for prompts whose tokens are scored.
SCORED_TOKENS = 64
_STREAM_UNIT = 256  # llama.cpp rounds each stream of a split cache up to this


def model_settings(config: EngineConfig) -> binding.Settings:
    return {
        "n_gpu_layers": config.n_gpu_layers,
        "load_mode": binding.LOAD_MODE[config.load_mode],
    }


def cpu_tensors(n_cpu_moe: int) -> Sequence[str]:
    """Patterns for the experts of the first layers, as llama.cpp's ``--n-cpu-moe`` has them."""
    return [rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps" for layer in range(n_cpu_moe)]


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
