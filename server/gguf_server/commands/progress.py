"""How far a fetch is, on stderr: a bar on a terminal, one JSON line a second elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, Self, TextIO

import msgspec
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gguf_server.models.progress import Progress, Stage
from gguf_server.models.sizes import human_bytes, human_seconds

_SECONDS_BETWEEN_LINES = 1.0
_MAX_TITLE = 72
_WORDS: dict[Stage, str] = {
    "resolve": "asking the hub",
    "wait": "waiting",
    "check": "checking",
    "download": "downloading",
    "tokenizer": "tokenizer",
    "done": "done",
}


def shortened(title: str) -> str:
    """A long name keeps its end, where the quantization and the part's number are."""
    return title if len(title) <= _MAX_TITLE else f"{title[:20]}...{title[23 - _MAX_TITLE :]}"


def _pace(progress: Progress) -> str:
    """``17 %, 3.2 GB of 18.2 GB, 120.0 MB/s, 2 min left``"""
    there, total = human_bytes(progress.num_bytes), human_bytes(progress.total_bytes)
    percent = int(100 * progress.fraction)
    pace = f"{percent} %, {there} of {total}, {human_bytes(progress.bytes_per_second)}/s"
    seconds = progress.remaining_seconds
    return pace if seconds is None else f"{pace}, {human_seconds(seconds)} left"


class Shown(Protocol):
    """Shows progress until it is closed."""

    def __enter__(self) -> Self: ...
    def __call__(self, progress: Progress) -> None: ...
    def __exit__(self, *_: object) -> None: ...


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
        last = self._last
        is_news = last is None or (last.stage, last.detail) != (progress.stage, progress.detail)
        if is_news or now - self._last_time >= _SECONDS_BETWEEN_LINES:
            self._write(progress)
            self._last_time = now

    def __exit__(self, *_: object) -> None:
        pass

    def _write(self, progress: Progress) -> None:
        self._last = progress
        self._stream.write(msgspec.json.encode(progress).decode() + "\n")
        self._stream.flush()


class Bar:
    """tqdm's bar while there are bytes to count, else a line that is overwritten.

    The rate is ours: tqdm's knows nothing of a stall until it is over.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Any | None = None
        self._title = ""
        self._logs = logging_redirect_tqdm()  # a warning must not be written into the bar

    def __enter__(self) -> Self:
        self._logs.__enter__()
        return self

    def __call__(self, progress: Progress) -> None:
        title = shortened(f"{_WORDS[progress.stage]} {progress.detail}".strip())
        if title != self._title:
            self._close()
            self._title = title
            self._bar = self._new_bar(title, progress)
        bar = self._bar
        assert bar is not None
        bar.n = progress.num_bytes
        if progress.total_bytes:
            bar.set_description_str(f"{_pace(progress)}  {title}", refresh=False)
        bar.refresh()

    def __exit__(self, *_: object) -> None:
        self._close()
        self._logs.__exit__(None, None, None)

    def _new_bar(self, title: str, progress: Progress) -> Any:
        """What matters most comes first: a narrow terminal cuts off the end."""
        return tqdm(
            total=progress.total_bytes or None,
            desc=title,
            bar_format="{desc} {bar}" if progress.total_bytes else "{desc}",
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
        )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._title = None, ""
