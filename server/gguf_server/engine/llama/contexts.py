"""What a model can do, and a context for each of that."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.log import LlamaLog
from gguf_server.engine.llama.refusal import refusal
from gguf_server.errors import LoadError
from gguf_server.wire.messages import EngineConfig

_logger = logging.getLogger("gguf_server.engine.llama")


@dataclass(frozen=True, slots=True)
class Contexts:
    """One of them may be missing, not both."""

    generation: binding.Context | None
    embedding: binding.Context | None

    def __iter__(self) -> Iterator[binding.Context]:
        return iter([each for each in (self.generation, self.embedding) if each is not None])

    def close(self) -> None:
        for context in self:
            context.close()


def pooling(weights: binding.Model) -> int:
    """How the file says that tokens become one vector, 0 when it does not."""
    architecture = weights.metadata("general.architecture")
    return int(weights.metadata(f"{architecture}.pooling_type") or 0)


def _only_embeds(weights: binding.Model) -> bool:
    """Whether the file says that it was made for vectors, not for text."""
    architecture = weights.metadata("general.architecture")
    causal = weights.metadata(f"{architecture}.attention.causal")
    return not weights.number("has_decoder") or causal == "false" or pooling(weights) > 0


def new_contexts(config: EngineConfig, weights: binding.Model, log: LlamaLog) -> Contexts:
    generation = None if _only_embeds(weights) else _generation_context(config, weights, log)
    if generation is not None and not config.embeddings:
        return Contexts(generation, None)
    try:
        return Contexts(
            generation,
            _embedding_context(config, weights, log, generates=generation is not None),
        )
    except LoadError:
        if generation is not None:
            generation.close()
        raise


def _embedding_context(
    config: EngineConfig, weights: binding.Model, log: LlamaLog, *, generates: bool
) -> binding.Context:
    trained = weights.number("n_ctx_train")
    if not generates and config.context_tokens > trained:
        _logger.warning(
            "inputs hold %d tokens, not %d: the model was trained on no more",
            trained,
            config.context_tokens,
        )
    max_tokens = parameters.embedding_tokens(config, trained, generates=generates)
    settings = parameters.embedding_settings(
        config,
        max_tokens,
        pooling="" if pooling(weights) else "mean",
        # llama.cpp computes the sequences of a recurrent model one after the other anyway.
        one_by_one=bool(weights.number("is_recurrent") or weights.number("is_hybrid")),
    )
    log.forget_errors()
    context = weights.new_context(settings)
    if context is None:
        how = f" for embeddings of {max_tokens} tokens at once"
        raise LoadError(refusal(config.model_path, log, how))
    return context


def _generation_context(
    config: EngineConfig, weights: binding.Model, log: LlamaLog
) -> binding.Context | None:
    """None when llama.cpp computes the model only as an encoder, whatever the file says."""
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
        raise LoadError(refusal(config.model_path, log, f" with {settings['n_ctx']} KV cells"))
    if not context.has_memory() or not context.is_causal():
        context.close()
        return None
    return context
