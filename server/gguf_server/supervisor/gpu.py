"""GPU memory as NVIDIA's driver counts it. A driver that fails or hangs costs no scrape."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pynvml
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from gguf_server.supervisor.series import PREFIX

_log = logging.getLogger(__name__)
REFRESH_SECONDS = 5.0
# A reading this many refreshes old tells nothing: the driver hangs.
_STALE_REFRESHES = 3
_NO_GPU = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of one GPU, used by whomever."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    devices: tuple[DeviceMemory, ...]


class GpuCollector:
    """Exports the last reading; a thread of its own takes them, as the driver may take long.

    Without a GPU it exports nothing. ``start`` it once.
    """

    def __init__(self, *, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._refresh_seconds = refresh_seconds
        self._last = _Reading(0.0, ())

    def start(self) -> None:
        threading.Thread(target=self._watch, name="gpu-memory", daemon=True).start()

    def collect(self) -> Iterator[Metric]:
        return gpu_memory(self._devices())

    def _devices(self) -> tuple[DeviceMemory, ...]:
        last = self._last
        age_seconds = time.monotonic() - last.at
        return last.devices if age_seconds < _STALE_REFRESHES * self._refresh_seconds else ()

    def _watch(self) -> None:
        try:
            pynvml.nvmlInit()
            while devices := _read():
                self._last = _Reading(time.monotonic(), devices)
                time.sleep(self._refresh_seconds)
        except pynvml.NVMLError as exc:
            if exc.value not in _NO_GPU:
                _log.warning("GPU memory is no longer measured; NVIDIA's driver says: %s", exc)
        self._last = _Reading(0.0, ())


def gpu_memory(devices: Iterable[DeviceMemory]) -> Iterator[Metric]:
    labels = ("device", "name")
    used = GaugeMetricFamily(
        f"{PREFIX}gpu_memory_used_bytes", "GPU memory used, by any process.", labels=labels
    )
    total = GaugeMetricFamily(
        f"{PREFIX}gpu_memory_total_bytes", "GPU memory there is.", labels=labels
    )
    for device in devices:
        used.add_metric((str(device.index), device.name), device.used_bytes)
        total.add_metric((str(device.index), device.name), device.total_bytes)
    yield used
    yield total


def _read() -> tuple[DeviceMemory, ...]:
    return tuple(_read_device(index) for index in range(pynvml.nvmlDeviceGetCount()))


def _read_device(index: int) -> DeviceMemory:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return DeviceMemory(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        used_bytes=memory.used,
        total_bytes=memory.total,
    )
