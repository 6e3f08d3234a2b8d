"""Who may ask the engine for something now, and when to come back. Knows no single request."""

import math
from collections.abc import Callable

from gguf_server.errors import EngineUnavailable, ModelLoading, QueueFull, ServerDraining
from gguf_server.supervisor.status import State, Status
from gguf_server.wire.messages import ModelFacts

_SMOOTHING = 0.2
_MAX_RETRY_AFTER_SECONDS = 600


class Admission:
    """Slots and a bounded queue behind them, open while there is an engine and until ``close``."""

    def __init__(self, status: Callable[[], Status], max_waiting: int) -> None:
        self._status = status
        self._max_waiting = max_waiting
        self._mean_seconds: float | None = None
        self._closed = False

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True

    @property
    def capacity(self) -> int:
        """How many requests may be open at once, running and waiting."""
        return self.require_engine().slots + self._max_waiting

    def require_engine(self) -> ModelFacts:
        """The model that is being served; raises the error that says why there is none."""
        status = self._status()
        if status.state is State.READY and status.facts is not None and not self._closed:
            return status.facts
        if self._closed or status.draining:
            msg = "the server is shutting down; send the request to another one"
            raise ServerDraining(msg, retry_after_seconds=1)
        retry_after = math.ceil(status.remaining_seconds or 5)
        if status.state is State.LOADING:
            msg = f"the model is still loading ({status.stage}, {status.fraction:.0%})"
            raise ModelLoading(msg, retry_after_seconds=retry_after)
        outlook = "could not be" if status.state is State.FAILED else "is being"
        msg = f"{status.reason or 'the engine is gone'}; it {outlook} replaced"
        raise EngineUnavailable(msg, retry_after_seconds=retry_after)

    def require_place(self, num_open: int, oldest_seconds: float) -> None:
        """``oldest_seconds`` is how long the oldest open request has been so."""
        if num_open < self.capacity:
            return
        slots = self.require_engine().slots
        msg = (
            f"{num_open} requests are running or waiting, which is the limit "
            f"({slots} slots, {self._max_waiting} waiting); try again later"
        )
        mean = self._mean_seconds or oldest_seconds
        retry_after = retry_after_seconds(num_open + 1 - slots, slots, mean)
        raise QueueFull(msg, retry_after_seconds=retry_after)

    def learn(self, seconds: float) -> None:
        """A request has had its slot for so long."""
        mean = self._mean_seconds
        self._mean_seconds = seconds if mean is None else mean + _SMOOTHING * (seconds - mean)


def retry_after_seconds(num_waiting: int, slots: int, mean_seconds: float) -> int:
    """When ``num_waiting`` requests ahead will have had their slot: whole seconds, at least 1."""
    estimate = math.ceil(num_waiting * mean_seconds / slots)
    return max(1, min(estimate, _MAX_RETRY_AFTER_SECONDS))
