"""What was asked of the hub, and how many bytes it gave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Request:
    """``num_bytes`` of the body were handed to the system's sender."""

    origin: str
    method: str
    path: str
    range: str
    authorization: str
    status: int = 0
    num_bytes: int = 0


@dataclass
class Record:
    """Every request, in order."""

    requests: list[Request] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, request: Request) -> Request:
        with self._lock:
            self.requests.append(request)
        return request

    def clear(self) -> None:
        with self._lock:
            self.requests.clear()

    def bytes_sent(self, wanted: Callable[[Request], bool] = lambda _: True) -> int:
        with self._lock:
            return sum(each.num_bytes for each in self.requests if wanted(each))
