"""What a plan is asked for, as plain data."""

import math
from dataclasses import dataclass
from typing import Literal

from gguf_deploy.hardware import Gpu
from gguf_server.knobs import Knobs

CPU = "cpu"  # asked for by this name
Preference = Literal["smallest", "cost", "speed"]


@dataclass(frozen=True, slots=True)
class Offer:
    """So many of one GPU in one machine; none of none is a CPU."""

    gpu: Gpu | None
    count: int

    @property
    def memory_bytes(self) -> int:
        """Of each."""
        return self.gpu.memory_bytes if self.gpu else 0

    @property
    def price_per_hour(self) -> float | None:
        if self.gpu is None or self.gpu.price_per_hour is None:
            return None
        return self.gpu.price_per_hour * self.count

    @property
    def size(self) -> tuple[float, ...]:
        """Smaller is less; of two that are alike, what costs less."""
        return (self.count, self.memory_bytes, self._price)

    @property
    def cost(self) -> tuple[float, ...]:
        """A price that nobody knows is the highest."""
        return (self._price, *self.size)

    @property
    def _price(self) -> float:
        return math.inf if self.price_per_hour is None else self.price_per_hour

    @property
    def is_on_modal(self) -> bool:
        """Modal has so many of this GPU for one container, and has CPUs."""
        return self.gpu is None or self.count <= self.gpu.max_per_modal_container

    @property
    def name(self) -> str:
        return f"{self.count} x {self.gpu.name}" if self.gpu else "CPU"


@dataclass(frozen=True, slots=True)
class Ask:
    """``offers`` is what may be taken, the smallest first. ``host_bytes`` is the host memory that
    may be used. ``knobs`` are the server's options; some of them may give.
    """

    offers: tuple[Offer, ...]
    knobs: Knobs
    host_bytes: int
    prefer: Preference = "smallest"
    allow_cpu_experts: bool = False
