"""How much memory a model would take, by llama.cpp's own count.

The code is the engine's own, up to the point where memory would be taken.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.breakdown import breakdown
from gguf_server.engine.llama.contexts import Contexts, new_contexts
from gguf_server.engine.llama.log import LlamaLog
from gguf_server.engine.llama.model import check_architecture, check_request, sequence_tokens
from gguf_server.engine.llama.refusal import refusal
from gguf_server.errors import LoadError, ModelFileError
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes
from gguf_server.models.measurement import DeviceUse, Measurement, Question
from gguf_server.wire.messages import EngineConfig

_FLOAT_BYTES = 4


def measure(question: Question, devices: Sequence[int] | None = None) -> Measurement:
    """What the engine would take on ``devices``; None are all that are there.

    Raises ``LoadError`` where the engine would, ``ModelFileError`` for an adapter that is none, and
    ``MeasurementFailed`` where llama.cpp cannot be asked.
    """
    config = _config(question)
    log = LlamaLog(last_words)
    log.quiet = True
    binding.start(log.write, log.abort)
    check_request(config)
    adapter_bytes = sum(_adapter_bytes(each.path) for each in question.knobs.lora)
    with closing(_load(config, log, devices)) as weights:
        check_architecture(config, weights)
        with closing(new_contexts(config, weights, log)) as contexts:
            return Measurement(
                devices=_with_adapters(_uses(contexts), adapter_bytes),
                output_bytes=_output_bytes(config, weights, contexts),
                num_layers=weights.number("n_layer"),
                context_tokens=sequence_tokens(config, weights, contexts),
                train_context_tokens=weights.number("n_ctx_train"),
                generates=contexts.generation is not None,
                llama_cpp=binding.version(),
            )


def _config(question: Question) -> EngineConfig:
    knobs = msgspec.structs.asdict(question.knobs)
    return EngineConfig(model_path=question.model_path, load_mode="none", **knobs)


def _load(config: EngineConfig, log: LlamaLog, devices: Sequence[int] | None) -> binding.Model:
    weights = binding.Model.load(
        config.model_path,
        {**parameters.model_settings(config), "no_alloc": True},
        tensor_split=config.tensor_split,
        cpu_tensors=parameters.cpu_tensors(config.n_cpu_moe),
        on_progress=lambda _fraction: None,
        devices=devices,
    )
    if weights is None:
        raise LoadError(refusal(config.model_path, log))
    return weights


def _uses(contexts: Contexts) -> list[DeviceUse]:
    """Of all contexts together, GPUs first; they share the weights."""
    total: dict[str, DeviceUse] = {}
    for context in contexts:
        for use in breakdown(context):
            before = total.get(use.name, DeviceUse(use.name, use.is_host, 0, 0, 0))
            total[use.name] = DeviceUse(
                use.name,
                use.is_host,
                use.weights_bytes,
                before.cache_bytes + use.cache_bytes,
                before.compute_bytes + use.compute_bytes,
            )
    return sorted(total.values(), key=lambda use: (use.is_host, use.name))


def _output_bytes(config: EngineConfig, weights: binding.Model, contexts: Contexts) -> int:
    """At most: llama.cpp makes the buffer larger when a batch has more outputs than any before."""
    num_floats = 0
    if contexts.generation is not None:
        sequences = parameters.num_sequences(config)
        scored = min(sequences + parameters.SCORED_TOKENS, contexts.generation.max_tokens())
        num_floats += max(sequences, scored) * len(weights.vocab)
    if contexts.embedding is not None:
        width = len(weights.vocab) + weights.number("n_embd_out")
        num_floats += contexts.embedding.max_tokens() * width
    return num_floats * _FLOAT_BYTES


# --- adapters ----------------------------------------------------------------------------------


def _adapter_bytes(path: str) -> int:
    with FileBytes(Path(path)) as file:
        header = read_header(file)
    if header.text("general.type") != "adapter":
        raise ModelFileError(f"{path} is no adapter; give a LoRA that was converted to GGUF")
    return sum(tensor.size_bytes for tensor in header.tensors)


def _with_adapters(uses: Sequence[DeviceUse], adapter_bytes: int) -> tuple[DeviceUse, ...]:
    """Each GPU gets what belongs to its layers; that is at most all of it."""
    targets = [use.name for use in uses if not use.is_host] or [uses[0].name]
    return tuple(
        msgspec.structs.replace(use, weights_bytes=use.weights_bytes + adapter_bytes)
        if use.name in targets
        else use
        for use in uses
    )


def last_words(level: int, line: str) -> None:
    """A sink for llama.cpp's log, of which only the reason for an abort matters here."""
    if level >= logging.ERROR:
        print(line, file=sys.stderr, flush=True)  # noqa: T201
