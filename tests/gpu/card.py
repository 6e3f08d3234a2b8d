"""What is measured on: a card of NVIDIA's, or this machine's CPU for a rehearsal."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pynvml

from gguf_deploy.hardware import Gpu, by_product

Device = Literal["gpu", "cpu"]
_PROC = Path("/proc")
_SESSION = 6  # field of /proc/PID/stat, counted as proc(5) does


class NoCard(Exception):
    """There is no card here, or it has company: its memory would not be ours."""


@dataclass(frozen=True, slots=True)
class Card:
    """``memory_bytes`` is what the driver reports; ``planned`` is the planner's name of it."""

    device: Device
    name: str
    driver: str
    cuda: str
    memory_bytes: int
    planned: str

    @property
    def slug(self) -> str:
        return "-".join(self.name.lower().replace("(r)", "").split())


def find(device: Device) -> Card:
    """The first card, or the CPU."""
    return _gpu() if device == "gpu" else Card("cpu", cpu_name(), "", "", 0, "cpu")


def memory(card: Card, session_id: Callable[[], int | None]) -> Callable[[], int]:
    """Reads bytes in use: all of the card, or what the processes of a session hold on a CPU."""
    if card.device == "gpu":
        return _card_bytes
    return lambda: resident_bytes(session_id())


def resident_bytes(session_id: int | None) -> int:
    """Of all processes of a session; what they share counts once for each."""
    if session_id is None:
        return 0
    return sum(map(_resident, _members(session_id)))


def _gpu() -> Card:
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(handle)
        version = pynvml.nvmlSystemGetCudaDriverVersion()
        return Card(
            "gpu",
            name,
            pynvml.nvmlSystemGetDriverVersion(),
            f"{version // 1000}.{version % 1000 // 10}",
            pynvml.nvmlDeviceGetMemoryInfo(handle).total,
            _planned(by_product(name.replace(" ", "-"))),
        )
    except pynvml.NVMLError as exc:
        raise NoCard(f"no NVIDIA GPU can be asked ({exc}); --device cpu rehearses") from None


def _planned(gpu: Gpu | None) -> str:
    return gpu.name if gpu else ""


def _card_bytes() -> int:
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def cpu_name() -> str:
    lines = (_PROC / "cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "CPU")


def _members(session_id: int) -> list[str]:
    found = []
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            fields = ["", "", "", *path.read_text().rpartition(")")[2].split()]
        except OSError:  # it has ended since
            continue
        if int(fields[_SESSION]) == session_id:
            found.append(path.parent.name)
    return found


def _resident(process: str) -> int:
    try:
        lines = (_PROC / process / "status").read_text().splitlines()
    except OSError:
        return 0
    sizes = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    return next(sizes, 0)


def nvcc_version() -> str:
    """Of the compiler on the PATH, "" where there is none."""
    try:
        answer = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return next((line for line in answer.stdout.splitlines() if "release" in line), "")
