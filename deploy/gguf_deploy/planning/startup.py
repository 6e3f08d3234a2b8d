"""How long a model takes until it is ready, and the budgets that follow. Pure.

A budget is three times what to expect, and never less than half an hour: it is the last resort,
for what our own stall detector cannot see. That one always speaks first.
"""

import math
from dataclasses import dataclass

from gguf_server.errors import SettingsError
from gguf_server.models.placement import Stage, Startup

_GB = 1e9  # as the makers of disks count


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the model is read from, and how fast on a bad day."""

    name: str
    bytes_per_second: float

    @property
    def description(self) -> str:
        rate = f"{self.bytes_per_second / _GB:g} GB/s"
        return f"{self.name}, {rate}" if self.name else rate


# A volume of Modal's: their guide says 1 to 2 GB/s; halved, not measured by us.
MODAL = Storage("modal", 0.5 * _GB)
STORAGES = (
    # A disk in the machine: 4 GB/s (anyscale/ai-infra-cookbook PR 57), 6 (ollama issue 5826); half.
    Storage("nvme", 2.0 * _GB),
    # A cloud's disk: 0.3 GB/s (the same PR 57), overlay of a cloud machine 0.2 (ollama issue 4098).
    Storage("pd", 0.25 * _GB),
    # Azure Files 0.07 GB/s, NFS 0.23 (ollama issue 5826), EFS 0.35 (modelplane issue 204).
    Storage("nfs", 0.07 * _GB),
    MODAL,
)

# --- bytes per second and seconds, on a bad day ---------------------------------------------------

# From the hub over a line that others use too. A guess.
_HUB_RATE = 0.1 * _GB
# One thread through pinned buffers; PCIe 3 x16 has 12 GB/s at best. A quarter of it, a guess.
_TO_GPU_RATE = 3.0 * _GB
# One thread that copies and repacks for the CPU. A quarter of a page cache's 8 GB/s, a guess.
_TO_CPU_RATE = 2.0 * _GB
# 98 MB took 0.16 s on two cores of an EPYC for some 70 tokens, and 40 it takes. Half of that rate.
_CPU_WARM_UP_RATE = 0.3 * _GB
# A mapped file that does not fit in memory is read again: 2 to 4 times (llama.cpp PR 14399).
_THRASHING = 4
# Python and our libraries: 0.5 s measured from a warm disk; a cold one is several times slower.
_PROCESS_SECONDS = 3
# Driver, context and CUDA's libraries: 2 to 5 s with the process, by experience, not measured.
_PROCESS_SECONDS_PER_GPU = 3
# KV cache and compute buffers: 0.3 s measured for 0.8 GB in host memory.
_CONTEXT_SECONDS = 2
# cuBLAS, graph capture, first kernels: 1 to 10 s by experience, not measured.
_GPU_WARM_UP_SECONDS = 10
# A GPU node from zero, its driver, an image of 1 to 2 GB: minutes by experience, not measured.
_SCHEDULE_SECONDS = 900

# --- rules ----------------------------------------------------------------------------------------

_MARGIN = 3  # times what to expect
_FLOOR_SECONDS = 30 * 60
_SHORT_SECONDS = 60  # what is ready sooner is asked more often
_SHORT_PERIOD_SECONDS = 5
_LONG_PERIOD_SECONDS = 10
_HELM_MARGIN_SECONDS = 5 * 60  # Kubernetes says first what is wrong; helm only that time is up
_MODAL_MAX_SECONDS = 24 * 3600  # https://modal.com/docs/guide/timeouts
_MIN_GB_PER_SECOND, _MAX_GB_PER_SECOND = 0.001, 1000.0  # beyond, somebody means another unit


def parse_storage(text: str) -> Storage:
    """``nvme``, ``pd``, ``nfs``, ``modal``, or GB/s: ``0.5``. Raises ``SettingsError``."""
    word = text.strip().lower()
    for storage in STORAGES:
        if storage.name == word:
            return storage
    try:
        rate = float(word.removesuffix("gb/s"))
    except ValueError:
        rate = math.nan
    if not _MIN_GB_PER_SECOND <= rate <= _MAX_GB_PER_SECOND:
        names = ", ".join(storage.name for storage in STORAGES)
        limits = f"from {_MIN_GB_PER_SECOND:g} to {_MAX_GB_PER_SECOND:g}"
        msg = f"--storage needs one of {names}, or its GB/s {limits}, not {text!r}"
        raise SettingsError(msg)
    return Storage("", rate * _GB)


@dataclass(frozen=True, slots=True)
class _Load:
    """What happens in the server's own process, wherever the files are."""

    size_bytes: int
    on_gpu: bool
    num_gpus: int
    fits_in_host_memory: bool

    def stages(self, source: Storage) -> tuple[Stage, ...]:
        rate = min(source.bytes_per_second, _TO_GPU_RATE if self.on_gpu else _TO_CPU_RATE)
        times = 1 if self.fits_in_host_memory else _THRASHING
        cpu_warm_up_seconds = self.size_bytes / _CPU_WARM_UP_RATE
        return (
            _stage("process", _PROCESS_SECONDS + self.num_gpus * _PROCESS_SECONDS_PER_GPU),
            _stage("load", times * self.size_bytes / rate),
            _stage("context", _CONTEXT_SECONDS),
            _stage("warmup", _GPU_WARM_UP_SECONDS if self.on_gpu else cpu_warm_up_seconds),
        )


def startup(
    size_bytes: int,
    storage: Storage,
    *,
    on_gpu: bool,
    num_gpus: int,
    fetch: bool = True,
    fits_in_host_memory: bool = True,
) -> Startup:
    """``size_bytes`` are all files of the model. Without ``fetch`` it is there already.

    ``num_gpus`` are opened even where no layer is on them.
    """
    load = _Load(size_bytes, on_gpu, num_gpus, fits_in_host_memory)
    fetched = (_stage("fetch", size_bytes / _HUB_RATE),) if fetch else ()
    expected_seconds = _total(load.stages(storage))
    period = _SHORT_PERIOD_SECONDS if expected_seconds < _SHORT_SECONDS else _LONG_PERIOD_SECONDS
    threshold = math.ceil(_budget(expected_seconds) / period)
    deadline = period * threshold + _MARGIN * _total(fetched) + _SCHEDULE_SECONDS
    on_modal = min(storage, MODAL, key=lambda each: each.bytes_per_second)
    modal_seconds = _budget(_total(load.stages(on_modal)))
    return Startup(
        storage=storage.description,
        stages=(*fetched, *load.stages(storage)),
        expected_seconds=expected_seconds,
        probe_period_seconds=period,
        probe_failure_threshold=threshold,
        progress_deadline_seconds=deadline,
        helm_timeout_seconds=deadline + _HELM_MARGIN_SECONDS,
        compose_start_period_seconds=_budget(expected_seconds),
        modal_startup_timeout_seconds=min(modal_seconds, _MODAL_MAX_SECONDS),
    )


def _stage(name: str, seconds: float) -> Stage:
    """Whole seconds, so that the stages of a table add up."""
    return Stage(name, float(math.ceil(seconds)))


def _total(stages: tuple[Stage, ...]) -> int:
    return sum(int(stage.seconds) for stage in stages)


def _budget(expected_seconds: int) -> int:
    return max(_MARGIN * expected_seconds, _FLOOR_SECONDS)
