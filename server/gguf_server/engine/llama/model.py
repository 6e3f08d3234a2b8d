"""Loading: from an ``EngineConfig`` to weights, adapters and a context, or one clear line.

Whatever llama.cpp refuses becomes a ``LoadError`` that says what failed, on which file, in
llama.cpp's own words, and what to do.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.contexts import Contexts, new_contexts, pooling
from gguf_server.engine.llama.kinds import NO_MEMORY, Kind, classify
from gguf_server.engine.llama.log import LineSink, LlamaLog, log_warnings
from gguf_server.engine.llama.refusal import refusal
from gguf_server.engine.llama.vocabulary import LlamaVocabulary
from gguf_server.errors import LoadError
from gguf_server.wire.messages import EngineConfig, LoadStage, ModelFacts

OnProgress = Callable[[LoadStage, float], None]

_logger = logging.getLogger("gguf_server.engine.llama")


@dataclass(frozen=True, slots=True)
class LlamaModel:
    """A loaded model with a context for each thing it does: generate, compute embeddings."""

    config: EngineConfig
    weights: binding.Model
    contexts: Contexts
    vocabulary: LlamaVocabulary
    log: LlamaLog
    kind: Kind
    context_tokens: int

    @property
    def generates(self) -> bool:
        return self.contexts.generation is not None

    @property
    def embedding_size(self) -> int:
        """The length of a vector, 0 where embeddings are not served."""
        return self.weights.number("n_embd_out") if self.contexts.embedding else 0

    @property
    def context(self) -> binding.Context:
        """Of a model that generates."""
        assert self.contexts.generation is not None
        return self.contexts.generation

    @property
    def embedding_context(self) -> binding.Context:
        """Of a model that serves embeddings."""
        assert self.contexts.embedding is not None
        return self.contexts.embedding

    def close(self) -> None:
        self.contexts.close()
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
            num_kv_cells=self.context.num_cells if self.generates else 0,
            bos_token=self.vocabulary.bos_text,
            eos_token=self.vocabulary.eos_text,
            special_tokens=self.vocabulary.special_tokens,
            chat_template=self.weights.chat_template(),
            prefix_reuse=self.kind.no_reuse,
            memory_kind=self.kind.name,
            stall_seconds=stall_seconds,
            devices=binding.devices(),
            load_seconds=load_seconds,
            generates=self.generates,
            embedding_size=self.embedding_size,
        )


def load(
    config: EngineConfig, on_progress: OnProgress, *, sink: LineSink = log_warnings
) -> LlamaModel:
    """Load in the stages "weights" and "context"; ``sink`` gets every line llama.cpp logs."""
    log = LlamaLog(sink)
    log.quiet = True
    binding.start(log.write, log.abort)
    check_request(config)
    with ExitStack() as undo:
        weights = _load_weights(config, log, on_progress)
        undo.callback(weights.close)
        check_architecture(config, weights)
        _check_tokenizer(config, weights)
        on_progress("context", 0.0)
        # Beside llama.cpp, which clears its cache meanwhile: both take tenths of a second.
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(LlamaVocabulary, weights.vocab)
            contexts = new_contexts(config, weights, log)
        undo.callback(contexts.close)
        _apply_adapters(config, weights, contexts, log)
        vocabulary = reading.result()
        on_progress("context", 1.0)
        undo.pop_all()
    log.forget_errors()
    log.quiet = False
    return LlamaModel(
        config=config,
        weights=weights,
        contexts=contexts,
        vocabulary=vocabulary,
        log=log,
        kind=classify(weights) if contexts.generation else NO_MEMORY,
        context_tokens=sequence_tokens(config, weights, contexts),
    )


def check_request(config: EngineConfig) -> None:
    """What is known to fail before a byte is read, with better words than llama.cpp's."""
    sequences = parameters.num_sequences(config)
    if sequences > binding.MAX_SEQUENCES:
        raise LoadError(
            f"{config.slots} slots and {config.retained_prefixes} retained prefixes are "
            f"{sequences} sequences; llama.cpp has at most {binding.MAX_SEQUENCES}. Lower one."
        )
    cells = parameters.num_cells(config)
    if cells > parameters.MAX_CELLS:
        raise LoadError(
            f"a cache of {cells} cells is asked for ({sequences} sequences); at most "
            f"{parameters.MAX_CELLS} are supported. Lower --context or --slots."
        )
    if config.device == "gpu" and not binding.can_offload():
        raise LoadError(
            "a GPU is asked for (--device gpu), and none is visible: is this a build for GPUs, is "
            "the driver there, was the container given one (docker run --gpus all, the limit "
            "nvidia.com/gpu)? --device cpu goes without."
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
        devices=parameters.devices(config),
    )
    if weights is None:
        raise LoadError(refusal(config.model_path, log))
    return weights


def check_architecture(config: EngineConfig, weights: binding.Model) -> None:
    architecture = weights.metadata("general.architecture")
    if weights.number("has_encoder") and weights.number("has_decoder"):
        raise LoadError(_unserved(config, f"{architecture!r} is an encoder-decoder"))
    if weights.number("is_diffusion"):
        raise LoadError(_unserved(config, f"{architecture!r} is a diffusion model"))
    if pooling(weights) == binding.POOLING["rank"]:
        raise LoadError(_unserved(config, "it is a reranker, which scores pairs of texts"))
    if pooling(weights) not in binding.POOLING.values():  # llama.cpp would abort
        raise LoadError(_unserved(config, f"its pooling type {pooling(weights)} is unknown"))


def _check_tokenizer(config: EngineConfig, weights: binding.Model) -> None:
    if weights.vocab.kind() == 0:
        raise LoadError(
            f"{config.model_path} carries no tokenizer, and text cannot be served without one. "
            "Take a complete GGUF of the model."
        )


def sequence_tokens(config: EngineConfig, weights: binding.Model, contexts: Contexts) -> int:
    """What one sequence may hold, or one input where nothing is generated."""
    if contexts.generation is None:
        return contexts.embedding.max_tokens() if contexts.embedding else 0
    wanted = parameters.context_tokens(config, weights.number("n_ctx_train"))
    return min(wanted, contexts.generation.num_sequence_cells)


def _apply_adapters(
    config: EngineConfig,
    weights: binding.Model,
    contexts: Contexts,
    log: LlamaLog,
) -> None:
    adapters = []
    for lora in config.lora:
        log.forget_errors()
        adapter = weights.load_adapter(lora.path)
        if not adapter:
            raise LoadError(refusal(lora.path, log, f" as an adapter of {config.model_path}"))
        adapters.append((adapter, lora.scale))
    if adapters:
        for context in contexts:
            context.set_adapters(adapters)


def _unserved(config: EngineConfig, kind: str) -> str:
    return (
        f"{config.model_path} cannot be served: {kind}. Serve a causal language model or an "
        "embedding model."
    )
