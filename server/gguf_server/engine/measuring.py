"""The measuring process: ``python -m gguf_server.engine.measuring``.

The first line on stdin is a ``Topology``, each other one a ``Question``, all in JSON; each question
is answered by a line on stdout, a ``Measurement`` or an ``Unmeasurable``. An ``abort()`` inside
llama.cpp ends the process; its reason is the last line on stderr.
"""

import logging
import os
import sys
from collections.abc import Sequence

import msgspec

from gguf_server.engine.llama import binding
from gguf_server.engine.llama.devices import register
from gguf_server.engine.llama.log import LlamaLog
from gguf_server.engine.llama.measure import last_words, measure
from gguf_server.errors import MeasurementFailed, StartupError
from gguf_server.models.measurement import Answer, Question, Topology, Unmeasurable
from gguf_server.parent import die_with_parent

_BAD_LINE = 2


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
        last_words(logging.ERROR, f"this is no question to a measuring process: {exc}")
        sys.exit(_BAD_LINE)
    except MeasurementFailed as exc:
        last_words(logging.ERROR, exc.message)
        sys.exit(exc.exit_code)


def _devices(topology: Topology) -> tuple[int, ...]:
    log = LlamaLog(last_words)
    binding.start(log.write, log.abort)
    return register(topology.gpus)


def _answer(question: Question, devices: Sequence[int]) -> Answer:
    try:
        return measure(question, devices[: question.num_gpus])
    except StartupError as exc:
        return Unmeasurable(exc.message)


if __name__ == "__main__":
    main()
