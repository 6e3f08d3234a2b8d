"""All series there can be, of a server that is ready on a machine with a GPU."""

import os
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.registry import Collector

from gguf_server.supervisor.collectors import BuildCollector, ProcessCollector, StateCollector
from gguf_server.supervisor.gpu import DeviceMemory, gpu_memory
from gguf_server.supervisor.metrics import Metrics
from tests.facts import FACTS, READY


class _Gpus(Collector):
    def collect(self) -> Iterator[Metric]:
        return gpu_memory([DeviceMemory(0, "GPU", used_bytes=1, total_bytes=2)])


def full_metrics() -> Metrics:
    """Every label of every series is there."""
    metrics = Metrics(
        BuildCollector(),
        StateCollector(lambda: READY, "model"),
        ProcessCollector(os.getpid),
        _Gpus(),
    )
    metrics.ready(FACTS)
    metrics.response_counter("/v1/models", "2xx")
    return metrics
