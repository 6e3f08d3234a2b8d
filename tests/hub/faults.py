"""How the hub misbehaves: each fault is for some paths and methods, for so many requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from threading import Lock
from typing import Literal

Kind = Literal[
    "status",  # answers ``status``, with ``retry_after_seconds`` if that is set
    "cut",  # closes the connection after ``num_bytes`` of the body
    "wrong_bytes",  # flips the first byte of the body
    "ignores_range",  # 200 and everything, where a range was asked for
    "wrong_range",  # 206 with another range than was asked for
    "other_etag",  # another ETag than before; If-Range does not match any more
    "empty",  # 206 for the range that was asked for, and no byte of it
    "endless",  # 206, and bytes until the client has had enough
    "other_page",  # 200 and a page that is not the file, as captive portals do
    "stalled",  # takes the request and says nothing until the hub closes
]


@dataclass
class Fault:
    """``times`` requests that match; negative: all of them. The first ``after`` are spared."""

    kind: Kind
    path: str = "*"
    method: str = "GET"
    origin: Literal["hub", "cdn", "any"] = "cdn"
    times: int = 1
    after: int = 0
    status: int = 503
    retry_after_seconds: str = ""
    num_bytes: int = 0

    def matches(self, method: str, path: str, origin: str) -> bool:
        return fnmatch(path, self.path) and method == self.method and self.origin in (origin, "any")


class Faults:
    """Those that a test has planned. The first that matches is taken."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._lock = Lock()

    def plan(self, *faults: Fault) -> None:
        with self._lock:
            self._planned += faults

    def clear(self) -> None:
        with self._lock:
            self._planned.clear()

    def take(self, method: str, path: str, origin: str) -> Fault | None:
        with self._lock:
            return _take(self._planned, method, path, origin)


def _take(planned: Sequence[Fault], method: str, path: str, origin: str) -> Fault | None:
    for fault in planned:
        if not fault.times or not fault.matches(method, path, origin):
            continue
        if fault.after:
            fault.after -= 1
            continue
        fault.times -= 1
        return fault
    return None
