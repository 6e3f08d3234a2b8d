"""When a lost engine is started again, and when to give up. Pure: time is passed in."""

from collections import deque

_BACKOFF_SECONDS = (0.0, 1.0, 5.0)


class RestartPolicy:
    """Gives up after ``max_crashes`` crashes within ``window_seconds``.

    Only an engine that has served since makes a crash forgotten: loads that stall one after
    another take longer than any window.
    """

    def __init__(self, *, max_crashes: int, window_seconds: float) -> None:
        self._max_crashes = max_crashes
        self._window_seconds = window_seconds
        self._crashes: deque[float] = deque()
        self._last_ready = 0.0

    def ready(self, now: float) -> None:
        """An engine serves."""
        self._last_ready = now

    def crashed(self, now: float) -> float | None:
        """Seconds to wait before the next start; None when this was one crash too many."""
        while self._crashes and self._is_forgotten(self._crashes[0], now):
            self._crashes.popleft()
        self._crashes.append(now)
        count = len(self._crashes)
        if count >= self._max_crashes:
            return None
        return _BACKOFF_SECONDS[min(count, len(_BACKOFF_SECONDS)) - 1]

    def _is_forgotten(self, crash: float, now: float) -> bool:
        return now - crash > self._window_seconds and crash < self._last_ready
