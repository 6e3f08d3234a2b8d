"""How far a fetch is, on stderr: a bar on a terminal, one JSON line a second elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

import msgspec
from tqdm import tqdm

from gguf_server.models.progress import Progress, Stage

_SECONDS_BETWEEN_LINES = 1.0
_WORDS: dict[Stage, str] = {
    "resolve": "asking the hub",
    "wait": "waiting",
    "check": "checking",
    "download": "downloading",
    "tokenizer": "tokenizer",
    "done": "done",
}


class Shown(Protocol):
    """Shows progress until it is closed."""

    def __enter__(self) -> Self: ...
    def __call__(self, progress: Progress) -> None: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def shown(stream: TextIO = sys.stderr, *, as_json: bool) -> Shown:
    """What suits the stream."""
    return Lines(stream) if as_json or not stream.isatty() else Bar(stream)


class Lines:
    """JSON for whoever collects logs; a change of stage is told at once."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last: Progress | None = None
        self._last_time = 0.0

    def __enter__(self) -> Self:
        return self

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        is_news = self._last is None or self._last.stage != progress.stage
        if is_news or now - self._last_time >= _SECONDS_BETWEEN_LINES:
            self._write(progress)
            self._last_time = now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def _write(self, progress: Progress) -> None:
        self._last = progress
        self._stream.write(msgspec.json.encode(progress).decode() + "\n")
        self._stream.flush()


class Bar:
    """tqdm's bar while there are bytes to count, else a line that is overwritten."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Any | None = None
        self._title = ""

    def __enter__(self) -> Self:
        return self

    def __call__(self, progress: Progress) -> None:
        title = f"{_WORDS[progress.stage]} {progress.detail}".strip()
        if title != self._title:
            self._close()
            self._title = title
            self._bar = self._new_bar(title, progress)
        bar = self._bar
        assert bar is not None
        bar.update(max(0, progress.num_bytes - bar.n))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _new_bar(self, title: str, progress: Progress) -> Any:
        if not progress.total_bytes:
            return tqdm(bar_format="{desc}", desc=title, file=self._stream, leave=False)
        return tqdm(
            total=progress.total_bytes,
            initial=progress.num_bytes,
            desc=title,
            unit="B",
            unit_scale=True,
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
        )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._title = None, ""
