"""Loading: from an ``EngineConfig`` to weights, adapters and a context, or one clear line.

Whatever llama.cpp refuses becomes a ``LoadError`` that says what failed, on which file, in
llama.cpp's own words, and what to do.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.log import LineSink, LlamaLog, log_warnings
from gguf_server.engine.llama.remembers import Remembers, classify
from gguf_server.engine.llama.vocabulary import LlamaVocabulary
from gguf_server.errors import LoadError
from gguf_server.wire.messages import EngineConfig, LoadStage, ModelFacts

OnProgress = Callable[[LoadStage, float], None]

_logger = logging.getLogger("gguf_server.engine.llama")


@dataclass(frozen=True, slots=True)
class LlamaModel:
    """A loaded model with its one context."""

    config: EngineConfig
    weights: binding.Model
    context: binding.Context
    vocabulary: LlamaVocabulary
    log: LlamaLog
    remembers: Remembers
    context_tokens: int

    def close(self) -> None:
        self.context.close()
        self.weights.close()

    def facts(self, *, stall_seconds: float, load_seconds: dict[str, float]) -> ModelFacts:
        number = self.weights.number
        return ModelFacts(
            architecture=self.weights.metadata("general.architecture"),
            description=self.weights.description(),
            num_params=number("n_params"),
            size_bytes=number("size"),
            vocab_size=len(self.vocabulary),
            train_context_tokens=number("n_ctx_train"),
            context_tokens=self.context_tokens,
            slots=self.config.slots,
            kv_layout=self.config.kv_layout,
            num_kv_cells=self.context.num_cells,
            bos_token=self.vocabulary.bos_text,
            eos_token=self.vocabulary.eos_text,
            chat_template=self.weights.chat_template(),
            prefix_reuse=self.remembers.no_reuse,
            memory_kind=self.remembers.kind,
            stall_seconds=stall_seconds,
            devices=binding.devices(),
            load_seconds=load_seconds,
        )


def load(
    config: EngineConfig, on_progress: OnProgress, *, sink: LineSink = log_warnings
) -> LlamaModel:
    """Load in the stages "weights" and "context"; ``sink`` gets every line llama.cpp logs."""
    log = LlamaLog(sink)
    log.quiet = True
    binding.start(log.write, log.abort)
    _check_request(config)
    with ExitStack() as undo:
        weights = _load_weights(config, log, on_progress)
        undo.callback(weights.close)
        _check_architecture(config, weights)
        on_progress("context", 0.0)
        context = _new_context(config, weights, log)
        undo.callback(context.close)
        _apply_adapters(config, weights, context, log)
        vocabulary = LlamaVocabulary(weights.vocab)
        on_progress("context", 1.0)
        undo.pop_all()
    log.forget_errors()
    log.quiet = False
    wanted = parameters.context_tokens(config, weights.number("n_ctx_train"))
    return LlamaModel(
        config=config,
        weights=weights,
        context=context,
        vocabulary=vocabulary,
        log=log,
        remembers=classify(weights),
        context_tokens=min(wanted, context.num_sequence_cells),
    )


def _check_request(config: EngineConfig) -> None:
    """What is known to fail before a byte is read, with better words than llama.cpp's."""
    sequences = parameters.num_sequences(config)
    if sequences > binding.MAX_SEQUENCES:
        raise LoadError(
            f"{config.slots} slots and {config.retained_prefixes} retained prefixes are "
            f"{sequences} sequences; llama.cpp has at most {binding.MAX_SEQUENCES}. Lower one."
        )
    if config.n_gpu_layers > 0 and not binding.can_offload():
        _logger.warning(
            "%d layers are asked for on a GPU, but llama.cpp sees none (a build without GPU "
            "support, or no driver in the container): everything runs on the CPU",
            config.n_gpu_layers,
        )


def _load_weights(config: EngineConfig, log: LlamaLog, on_progress: OnProgress) -> binding.Model:
    shown = -1

    def progress(fraction: float) -> None:
        nonlocal shown
        if int(fraction * 100) > shown:
            shown = int(fraction * 100)
            on_progress("weights", fraction)

    log.forget_errors()
    weights = binding.Model.load(
        config.model_path,
        parameters.model_settings(config),
        tensor_split=config.tensor_split[: binding.max_devices()],
        cpu_tensors=parameters.cpu_tensors(config.n_cpu_moe),
        on_progress=progress,
    )
    if weights is None:
        raise LoadError(_refusal(config.model_path, log))
    return weights


def _check_architecture(config: EngineConfig, weights: binding.Model) -> None:
    if weights.number("has_encoder") or not weights.number("has_decoder"):
        raise LoadError(_cannot_generate(config, weights))
    if weights.vocab.kind() == 0:
        raise LoadError(
            f"{config.model_path} carries no tokenizer, and text cannot be served without one. "
            "Take a complete GGUF of the model."
        )


def _new_context(config: EngineConfig, weights: binding.Model, log: LlamaLog) -> binding.Context:
    log.forget_errors()
    trained = weights.number("n_ctx_train")
    wanted = parameters.context_tokens(config, trained)
    if wanted > trained:
        _logger.warning(
            "a context of %d tokens is more than the %d that the model was trained on; answers "
            "to long prompts may be poor",
            wanted,
            trained,
        )
    settings = parameters.context_settings(config, wanted)
    context = weights.new_context(settings)
    if context is None:
        raise LoadError(_refusal(config.model_path, log, f" with {settings['n_ctx']} KV cells"))
    if not context.has_memory() or not context.is_causal():
        context.close()
        raise LoadError(_cannot_generate(config, weights))
    return context


def _apply_adapters(
    config: EngineConfig,
    weights: binding.Model,
    context: binding.Context,
    log: LlamaLog,
) -> None:
    adapters = []
    for lora in config.lora:
        log.forget_errors()
        adapter = weights.load_adapter(lora.path)
        if not adapter:
            raise LoadError(_refusal(lora.path, log, f" as an adapter of {config.model_path}"))
        adapters.append((adapter, lora.scale))
    if adapters:
        context.set_adapters(adapters)


def _cannot_generate(config: EngineConfig, weights: binding.Model) -> str:
    architecture = weights.metadata("general.architecture")
    return (
        f"{config.model_path} cannot generate text token by token: {architecture!r} is an "
        "encoder, an encoder-decoder or a diffusion model. Serve a causal language model."
    )


def _refusal(path: str, log: LlamaLog, how: str = "") -> str:
    reason = log.last_error() or "llama.cpp gave no reason"
    advice = next((text for words, text in _ADVICE if any(w in reason for w in words)), "")
    return f"Cannot load {path}{how}: {reason.rstrip('.')}. {advice}".rstrip()


_ADVICE: Final = (
    (
        ("alloc", "memory"),
        "Lower the context or the slots, put fewer layers on this device, or take a smaller file.",
    ),
    (
        ("unknown model architecture", "only supports up to version", "unknown type"),
        "Use a newer image: this llama.cpp does not know it.",
    ),
    (("magic", "GGUFv1", "too old"), "This is not a GGUF file; take one."),
    (
        ("corrupted", "failed to read", "not found", "invalid", "missing"),
        "The file is damaged or incomplete; fetch it again.",
    ),
    (("flash_attn",), "Set flash attention to on or auto, or the V cache to f16."),
    (("base model", "arch mismatch"), "Take the adapter that was made for this model."),
    (("general.type",), "Take a LoRA adapter in GGUF format."),
)
