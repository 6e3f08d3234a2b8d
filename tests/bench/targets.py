"""What we want to be true beside the best peer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gguf_server.bench.workloads import Headline

NEVER_BELOW = 0.97  # of the best peer's throughput, in any workload


@dataclass(frozen=True, slots=True)
class Target:
    """At least so many times better than the best peer."""

    workload: str
    measure: Headline
    at_least: float


SPECIAL = (
    Target("shared", "wall_seconds", 3.5),
    Target("turns", "wall_seconds", 1.0),
    Target("mixed", "longest_pause_seconds", 5.0),
)


def targets(workloads: Iterable[str]) -> list[Target]:
    """Throughput of each workload, then what some are there for."""
    names = list(workloads)
    throughput = [Target(name, "output_tokens_per_second", NEVER_BELOW) for name in names]
    return [*throughput, *(each for each in SPECIAL if each.workload in names)]
