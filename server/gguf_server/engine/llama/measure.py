"""The measuring process: ``python -m gguf_server.engine.llama.measure``.

The first line on stdin is a ``Topology``, each other one a ``Question``, all in JSON; each question
is answered by a line on stdout, a ``Measurement`` or an ``Unmeasurable``. The code is the engine's
own, up to the point where memory would be taken. An ``abort()`` inside llama.cpp ends the process;
its reason is the last line on stderr.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.breakdown import breakdown
from gguf_server.engine.llama.contexts import Contexts, new_contexts
from gguf_server.engine.llama.devices import register
from gguf_server.engine.llama.log import LlamaLog
from gguf_server.engine.llama.model import check_architecture, check_request, sequence_tokens
from gguf_server.engine.llama.refusal import refusal
from gguf_server.errors import LoadError, MeasurementFailed, StartupError
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes
from gguf_server.models.measurement import (
    Answer,
    DeviceUse,
    Measurement,
    Question,
    Topology,
    Unmeasurable,
)
from gguf_server.parent import die_with_parent
from gguf_server.wire.messages import EngineConfig, LoraFile

_FLOAT_BYTES = 4
_BAD_LINE = 2


def measure(question: Question, devices: Sequence[int] | None = None) -> Measurement:
    """What the engine would take on ``devices``; None are all that are there.

    Raises ``LoadError`` where the engine would, ``ModelFileError`` for an adapter that is none, and
    ``MeasurementFailed`` where llama.cpp cannot be asked.
    """
    config = _config(question)
    log = LlamaLog(_last_words)
    log.quiet = True
    binding.start(log.write, log.abort)
    check_request(config)
    adapter_bytes = sum(map(_adapter_bytes, question.knobs.lora))
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
    lora = tuple(LoraFile(path, 1.0) for path in knobs.pop("lora"))
    return EngineConfig(model_path=question.model_path, load_mode="none", lora=lora, **knobs)


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
        return sum(tensor.size_bytes for tensor in read_header(file).tensors)


def _with_adapters(uses: Sequence[DeviceUse], adapter_bytes: int) -> tuple[DeviceUse, ...]:
    """Each GPU gets what belongs to its layers; that is at most all of it."""
    targets = [use.name for use in uses if not use.is_host] or [uses[0].name]
    return tuple(
        msgspec.structs.replace(use, weights_bytes=use.weights_bytes + adapter_bytes)
        if use.name in targets
        else use
        for use in uses
    )


# --- the process -------------------------------------------------------------------------------


def main() -> None:
    die_with_parent()
    logging.disable(logging.WARNING)  # whoever asks knows what is asked
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nobody else writes between the answers
    try:
        devices = _devices(msgspec.json.decode(sys.stdin.buffer.readline(), type=Topology))
        for line in sys.stdin.buffer:
            question = msgspec.json.decode(line, type=Question)
            answers.write(msgspec.json.encode(_answer(question, devices)) + b"\n")
            answers.flush()
    except msgspec.DecodeError as exc:
        _last_words(logging.ERROR, f"this is no question to a measuring process: {exc}")
        sys.exit(_BAD_LINE)
    except MeasurementFailed as exc:
        _last_words(logging.ERROR, exc.message)
        sys.exit(exc.exit_code)


def _devices(topology: Topology) -> tuple[int, ...] | None:
    if not topology.simulated:
        return None
    log = LlamaLog(_last_words)
    binding.start(log.write, log.abort)
    return register(topology.gpus)


def _answer(question: Question, devices: Sequence[int] | None) -> Answer:
    chosen = devices[: question.num_gpus] if devices is not None else None
    try:
        return measure(question, chosen)
    except StartupError as exc:
        return Unmeasurable(exc.message)


def _last_words(level: int, line: str) -> None:
    """A sink for llama.cpp's log, of which only the reason for an abort matters here."""
    if level >= logging.ERROR:
        print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
