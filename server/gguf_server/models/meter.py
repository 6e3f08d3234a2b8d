"""Turns counted bytes into ``Progress``: seldom enough to cost nothing, with a rate of late."""

import threading
import time
from collections import deque
from collections.abc import Callable

from gguf_server.models.progress import Progress, Report, Stage

_INTERVAL_SECONDS = 0.1
_WINDOW_SECONDS = 5.0


class Meter:
    """One stage at a time, counted by any number of threads."""

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self.begin("resolve")

    def begin(self, stage: Stage, detail: str = "", *, total_bytes: int = 0) -> None:
        """Reported at once, and counted from zero."""
        with self._lock:
            self._stage: Stage = stage
            self._detail = detail
            self._total_bytes = total_bytes
            self._num_bytes = 0
            self._moved_bytes = 0
            self._samples = deque([(self._clock(), 0)])
            self._send(0.0)

    def tell(self, detail: str) -> None:
        """The same stage goes on with another file, or in another state."""
        with self._lock:
            self._detail = detail
            self._sample(self._clock())

    def skip(self, num_bytes: int) -> None:
        """Bytes that were there before: part of the whole, not of the rate."""
        with self._lock:
            self._num_bytes += num_bytes

    def reach(self, num_bytes: int) -> None:
        """So many are there by now. Fewer than before is a new start, and takes no rate back."""
        with self._lock:
            self._moved_bytes += max(0, num_bytes - self._num_bytes)
            self._num_bytes = num_bytes
            now = self._clock()
            if now - self._samples[-1][0] >= _INTERVAL_SECONDS:
                self._sample(now)

    def _sample(self, now: float) -> None:
        """The rate is of the window: what a stall or a burst did before it is forgotten."""
        self._samples.append((now, self._moved_bytes))
        while now - self._samples[0][0] > _WINDOW_SECONDS and len(self._samples) > 2:  # noqa: PLR2004
            self._samples.popleft()
        then, moved_bytes = self._samples[0]
        self._send((self._moved_bytes - moved_bytes) / (now - then) if now > then else 0.0)

    def _send(self, bytes_per_second: float) -> None:
        self._report(
            Progress(
                self._stage, self._detail, self._num_bytes, self._total_bytes, bytes_per_second
            )
        )
