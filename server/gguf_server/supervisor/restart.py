"""When a lost engine is started again, and when to give up. Pure: time is passed in."""

from collections import deque

_BACKOFF_SECONDS = (0.0, 1.0, 5.0)


class RestartPolicy:
    """Gives up after ``max_crashes`` crashes within ``window_seconds``."""

    def __init__(self, *, max_crashes: int, window_seconds: float) -> None:
        self._max_crashes = max_crashes
        self._window_seconds = window_seconds
        self._crashes: deque[float] = deque()

    def crashed(self, now: float) -> float | None:
        """Seconds to wait before the next start; None when this was one crash too many."""
        self._crashes.append(now)
        while now - self._crashes[0] > self._window_seconds:
            self._crashes.popleft()
        count = len(self._crashes)
        if count >= self._max_crashes:
            return None
        return _BACKOFF_SECONDS[min(count, len(_BACKOFF_SECONDS)) - 1]
