"""Asks llama.cpp how much memory a model needs, in processes of its own.

One process for each topology: ggml cannot forget a device, and an assertion that fails in llama.cpp
ends its process. None is started before there is a question.
"""

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from gguf_server.errors import MeasurementFailed
from gguf_server.models.measurement import Answer, Measurement, Question, Topology, Unmeasurable

MEASURE_COMMAND: Final = (sys.executable, "-m", "gguf_server.engine.measuring")
# A large model takes a second. Beyond this nothing will come.
LIMIT_SECONDS: Final = 60.0
_LAST_BYTES: Final = 4096
_END_SECONDS: Final = 5.0


class Measurer:
    """Keeps its processes, and its answers, until it is closed. For one thread.

    A file must not change while its answers are kept.
    """

    def __init__(
        self, command: Sequence[str] = MEASURE_COMMAND, *, limit_seconds: float = LIMIT_SECONDS
    ) -> None:
        self._command = command
        self._limit_seconds = limit_seconds
        self._workers: dict[Topology, _Worker] = {}
        self._answers: dict[tuple[Topology, Question], Answer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for topology in list(self._workers):
            self._workers.pop(topology).close()

    def measure(self, topology: Topology, question: Question) -> Measurement:
        """Raises ``MeasurementFailed`` with why llama.cpp refused, or what it died of."""
        key = (topology, question)
        if key not in self._answers:
            self._answers[key] = self._ask(topology, question)
        answer = self._answers[key]
        if isinstance(answer, Unmeasurable):
            raise MeasurementFailed(answer.message)
        return answer

    def _ask(self, topology: Topology, question: Question) -> Answer:
        worker = self._workers.pop(topology, None) or _Worker(
            topology, self._command, self._limit_seconds
        )
        try:
            answer = worker.ask(question)
        except BaseException:
            worker.close()
            raise
        self._workers[topology] = worker
        return answer


class _Worker:
    """A running process with one topology."""

    def __init__(self, topology: Topology, command: Sequence[str], limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._is_late = False
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (closed by ``close``)
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words
            )
        except OSError as exc:
            self._words.close()
            raise MeasurementFailed(f"{command[0]} cannot be started: {exc.strerror}") from None
        self._send(topology)

    def ask(self, question: Question) -> Answer:
        """Raises ``MeasurementFailed`` when there is no answer."""
        assert self._process.stdout is not None
        timer = threading.Timer(self._limit_seconds, self._end_late)
        timer.start()
        try:
            self._send(question)
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            raise MeasurementFailed(f"Cannot measure {question.model_path}: {self._end()}")
        answer: Answer = msgspec.json.decode(line, type=Answer)
        return answer

    def close(self) -> None:
        """Safe to repeat."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._words):
            with contextlib.suppress(OSError):  # what was written last, and nobody read
                if pipe is not None:
                    pipe.close()

    def _send(self, message: msgspec.Struct) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone; there will be no answer
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def _end(self) -> str:
        """Why there is no answer, in one line."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        if self._is_late:
            return f"llama.cpp gave no answer within {self._limit_seconds:g} s"
        words = self._last_words()
        if "No module named" in words:
            return f"{words}: install gguf-server[engine]"
        if words:
            return words
        status = self._process.returncode
        how = f"by signal {-status}" if status and status < 0 else f"with status {status}"
        return f"the measuring process ended {how}"

    def _last_words(self) -> str:
        self._words.seek(0, 2)
        self._words.seek(max(0, self._words.tell() - _LAST_BYTES))
        lines = self._words.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
