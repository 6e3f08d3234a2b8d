"""llama.cpp's log: whole lines with a level, and the one line that tells why a call failed."""

import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Final

LineSink = Callable[[int, str], None]

_logger = logging.getLogger("gguf_server.engine.llama")
_CONTINUE: Final = 5
_LEVELS: Final = {
    1: logging.DEBUG,
    2: logging.INFO,
    3: logging.WARNING,
    4: logging.ERROR,
}
_PREFIX: Final = re.compile(r"^(?:[A-Za-z_][A-Za-z0-9_:~]*: (?:error loading model: )?)+")
# An assertion names its source file by where it was when it was compiled.
_SOURCE_FOLDER: Final = re.compile(r"^\S*/(?=[^/\s]+:\d+: )")
# What callers of the function that really failed add to its line.
_GENERIC: Final = re.compile(
    r"failed to load model|failed to read header$|failed to load lora adapter from file"
    r"|failed to initialize batch$|failed to decode, ret"
)


# Of the whole cache, which many sequences share; ``model`` warns of what one sequence may hold.
_MISLEADING: Final = "possible training context overflow"


def log_warnings(level: int, line: str) -> None:
    """The default sink: warnings and errors as they are, all the rest for debugging."""
    if _MISLEADING not in line:
        shown = level if level >= logging.WARNING else logging.DEBUG
        _logger.log(shown, "llama.cpp: %s", line)


class LlamaLog:
    """Joins continuation lines, forwards every line to ``sink``, remembers the last errors.

    While ``quiet`` all lines are for debugging: what matters of them will be in an exception.
    """

    def __init__(self, sink: LineSink = log_warnings) -> None:
        self.quiet = False
        self._sink = sink
        self._level = logging.INFO
        self._pending = ""
        self._errors: deque[str] = deque(maxlen=32)

    def write(self, ggml_level: int, text: str) -> None:
        """One call of llama.cpp's log callback."""
        if ggml_level != _CONTINUE:
            self._emit(self._pending)
            self._pending = ""
            self._level = _LEVELS.get(ggml_level, logging.INFO)
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._emit(line)

    def abort(self, message: str) -> None:
        """llama.cpp's last words before it ends the process: there will be no exception."""
        self.quiet = False
        self.write(4, _SOURCE_FOLDER.sub("", message).rstrip("\n") + "\n")

    def forget_errors(self) -> None:
        """Call before an operation, so that ``last_error`` speaks of that one."""
        self._errors.clear()

    def last_error(self) -> str:
        """Why the last operation failed, in one line; "" when llama.cpp gave no reason."""
        lines = [_PREFIX.sub("", line) for line in self._errors]
        useful = [line for line in lines if not _GENERIC.search(line)]
        return (useful or lines or [""])[-1]

    def _emit(self, line: str) -> None:
        line = line.rstrip()
        if not line:
            return
        if self._level >= logging.ERROR:
            self._errors.append(line)
        self._sink(logging.DEBUG if self.quiet else self._level, line)
