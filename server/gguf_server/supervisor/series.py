"""Makes series: our prefix, our buckets, and every labelled one there from the start."""

import itertools
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "gguf_server_"
# A toy on a CPU answers in 10 ms, a long prompt in a full queue after minutes.
REQUEST_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    *(20, 40, 60, 90, 120, 180, 300, 600, 1200),
)
# Readers notice 50 ms and mind 250; above are stalls by long prompts or a slow disk.
GAP_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.035, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.4, 0.6, 1, 2.5, 5, 10, 25, 60),
)
NUM_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *(1024 << i for i in range(8)))


class Series:
    """The series of one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        """With a series for each combination of the labels' values."""
        counter = Counter(PREFIX + name, text, tuple(labels), registry=self.registry)
        for values in _combinations(labels):
            counter.labels(*values)
        return counter

    def gauge(self, name: str, text: str, **labels: Iterable[str]) -> Gauge:
        """With a series for each combination of the labels' values."""
        gauge = Gauge(PREFIX + name, text, tuple(labels), registry=self.registry)
        for values in _combinations(labels):
            gauge.labels(*values)
        return gauge

    def histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(PREFIX + name, text, registry=self.registry, buckets=buckets)


def _combinations(labels: dict[str, Iterable[str]]) -> Iterable[tuple[str, ...]]:
    """A series that appears with its first event has no rate for it: all are there at once."""
    return itertools.product(*labels.values()) if labels else ()
