"""Series read at the moment of a scrape: the engine's state, and what both processes use."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from gguf_server import __version__
from gguf_server.supervisor.series import PREFIX
from gguf_server.supervisor.status import State, Status

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class BuildCollector:
    """Which versions these are."""

    def __init__(self) -> None:
        self._info = GaugeMetricFamily(
            f"{PREFIX}build_info",
            "Always 1; the labels tell the versions.",
            labels=("version", "llama_cpp_python_version"),
        )
        self._info.add_metric((__version__, _version_of("llama-cpp-python")), 1)

    def collect(self) -> Iterator[Metric]:
        yield self._info


class StateCollector:
    """What the supervisor knows about the engine and its model."""

    def __init__(self, status: Callable[[], Status], model_name: str) -> None:
        self._status = status
        self._model_name = model_name

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield _gauge("ready", "1 while /readyz says so.", status.is_ready)
        yield _gauge("draining", "1 from the signal to the end.", status.draining)
        yield _gauge("engine_up", "1 while an engine serves.", status.state is State.READY)
        yield _state(status.state)
        facts = status.facts
        yield _gauge("slots", "Sequences that can run at once.", facts.slots if facts else 0)
        yield self._model(status)

    def _model(self, status: Status) -> Metric:
        info = GaugeMetricFamily(
            f"{PREFIX}model_info",
            "Always 1, once a model is loaded; the labels tell which.",
            labels=("model", "architecture", "description", "kv_layout"),
        )
        if facts := status.facts:
            labels = (self._model_name, facts.architecture, facts.description, facts.kv_layout)
            info.add_metric(labels, 1)
        return info


class ProcessCollector:
    """Memory and CPU time as the kernel counts them; nothing where there is no /proc."""

    def __init__(self, engine_pid: Callable[[], int | None]) -> None:
        self._engine_pid = engine_pid

    def collect(self) -> Iterator[Metric]:
        resident = GaugeMetricFamily(
            f"{PREFIX}process_resident_memory_bytes",
            "Memory in use, mapped model files included.",
            labels=("process",),
        )
        cpu = CounterMetricFamily(
            f"{PREFIX}process_cpu_seconds",
            "CPU time; starts anew with each engine.",
            labels=("process",),
        )
        for process, pid in (("api", os.getpid()), ("engine", self._engine_pid())):
            if pid is not None and (usage := read_usage(pid)) is not None:
                resident.add_metric((process,), usage.resident_bytes)
                cpu.add_metric((process,), usage.cpu_seconds)
        yield resident
        yield cpu


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses."""

    resident_bytes: int
    cpu_seconds: float


def read_usage(pid: int) -> Usage | None:
    """None when there is no such process any more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # a name may contain blanks and brackets
    user_ticks, system_ticks, resident_pages = (int(fields[at]) for at in (11, 12, 21))
    return Usage(
        resident_bytes=resident_pages * _PAGE_BYTES,
        cpu_seconds=(user_ticks + system_ticks) / _TICKS_PER_SECOND,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=float(value))


def _state(current: State) -> Metric:
    states = GaugeMetricFamily(
        f"{PREFIX}engine_state", "1 for the state it is in, 0 for the others.", labels=("state",)
    )
    for state in State:
        states.add_metric((state,), state is current)
    return states


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
