"""When an engine that still exists must be called stuck. Pure: time is passed in."""

CHECK_SECONDS = 0.5


class Watchdog:
    """Remembers the last sign of progress; only the step loop and the loader give signs.

    A pause of this process itself (a suspended machine, a stopped container) is no fault of the
    engine: a check that comes much too late starts the count anew.
    """

    def __init__(self, limit_seconds: float, now: float) -> None:
        self.limit_seconds = limit_seconds
        self._last_progress = now
        self._last_check = now

    def progress(self, now: float) -> None:
        self._last_progress = now

    def silent_seconds(self, now: float) -> float:
        return now - self._last_progress

    def is_stalled(self, now: float) -> bool:
        """To be asked every ``CHECK_SECONDS``."""
        was_away = now - self._last_check > 4 * CHECK_SECONDS
        self._last_check = now
        if was_away:
            self._last_progress = now
        return self.silent_seconds(now) > self.limit_seconds
