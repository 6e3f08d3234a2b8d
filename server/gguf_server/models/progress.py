"""How far a fetch is: one immutable value, handed to whoever shows it."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

Stage = Literal["resolve", "wait", "check", "download", "tokenizer", "done"]


class Progress(Struct, frozen=True):
    """``detail`` is a line for people: the file, or whom we wait for. ``num_bytes`` of
    ``total_bytes`` are there; ``bytes_per_second`` is of late, 0 while unknown.
    """

    stage: Stage
    detail: str = ""
    num_bytes: int = 0
    total_bytes: int = 0
    bytes_per_second: float = 0.0

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.num_bytes / self.total_bytes if self.total_bytes else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """None while there is nothing to estimate from."""
        if not (self.bytes_per_second and self.total_bytes):
            return None
        return (self.total_bytes - self.num_bytes) / self.bytes_per_second


Report = Callable[[Progress], None]
CountBytes = Callable[[int], None]  # told how many are there by now
Notice = Callable[[str], None]  # told a few words for people
