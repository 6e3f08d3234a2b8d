"""What is typed and what is shown. Escape codes only on a terminal, and only ours."""

import contextlib
import sys
import unicodedata
from pathlib import Path
from shutil import get_terminal_size
from types import ModuleType

try:
    import readline as _readline

    readline: ModuleType | None = _readline
except ImportError:  # not everywhere; then lines are typed without editing
    readline = None

_DIM, _PLAIN, _CLEAR_LINE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"
_PROMPT, _MORE_PROMPT = "> ", ". "
_MOST_HISTORY_LINES = 1000


class Screen:
    """Answers on stdout, everything else on stderr."""

    def __init__(self, *, colors: bool) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._has_colors = colors and self._is_terminal
        self._has_progress = colors and sys.stderr.isatty()
        self._is_reasoning = False
        self._is_line_open = False
        self._has_open_progress = False

    def text(self, text: str) -> None:
        self._end_progress()
        self._end_reasoning()
        self._write(text)

    def reasoning(self, text: str) -> None:
        """Thinking aloud is no part of the answer: only a person at a terminal sees it."""
        if not self._is_terminal:
            return
        self._end_progress()
        if not self._is_reasoning:
            self._is_reasoning = True
            self._write(_DIM if self._has_colors else "(thinking)\n", raw=True)
        self._write(text)

    def end_answer(self) -> None:
        """The next thing starts on a line of its own."""
        self._end_progress()
        self._end_reasoning()
        if self._is_line_open:
            self._write("\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """About the conversation, not part of it."""
        self.end_answer()
        print(text, file=sys.stderr, flush=True)

    def progress(self, text: str) -> None:
        """One line that is written over; said once where it cannot be."""
        if self._has_progress:
            fitting = text[: get_terminal_size().columns - 1]  # a second line would stay
            print(f"{_CLEAR_LINE}{fitting}", end="", file=sys.stderr, flush=True)
        elif not self._has_open_progress:
            print(text, file=sys.stderr, flush=True)
        self._has_open_progress = True

    def _end_progress(self) -> None:
        if self._has_open_progress and self._has_progress:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
        self._has_open_progress = False

    def _end_reasoning(self) -> None:
        if self._is_reasoning:
            self._is_reasoning = False
            self._write(_PLAIN if self._has_colors else "", raw=True)
            self._write("\n\n" if self._is_line_open else "\n")

    def _write(self, text: str, *, raw: bool = False) -> None:
        if not text:
            return
        shown = text if raw or not self._is_terminal else _harmless(text)
        if not raw:  # before it is shown, because Ctrl-C may come right after
            self._is_line_open = not shown.endswith("\n")
        print(shown, end="", flush=True)


class Keyboard:
    """Lines with editing and a history that outlives the session; its file is the user's alone."""

    def __init__(self, history: Path) -> None:
        self._history = history
        if readline is None:
            return
        readline.set_auto_history(False)
        readline.set_history_length(_MOST_HISTORY_LINES)
        with contextlib.suppress(OSError):
            readline.read_history_file(history)

    def question(self) -> str:
        """May have several lines, each but the last ending in a backslash."""
        lines = [input(_PROMPT)]
        while lines[-1].endswith("\\"):
            lines.append(input(_MORE_PROMPT))
        for line in lines:
            self._remember(line)
        return "\n".join([*(line.removesuffix("\\") for line in lines[:-1]), lines[-1]])

    def _remember(self, line: str) -> None:
        """At once: the terminal may be closed without a word."""
        if readline is None or not line.strip():
            return
        readline.add_history(line)
        with contextlib.suppress(OSError, AttributeError):  # libedit cannot append
            self._history.parent.mkdir(parents=True, exist_ok=True)
            self._history.touch(mode=0o600)
            readline.append_history_file(1, self._history)


def _harmless(text: str) -> str:
    """A model may be talked into writing escape codes, and terminals obey them."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
