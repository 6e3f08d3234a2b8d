"""The processes of a server: the one that was started, its children, theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Fields of /proc/PID/stat, counted as proc(5) does; four times stand in a row.
PARENT, USER_TIME, NUM_TIMES = 4, 14, 4


@dataclass(frozen=True, slots=True)
class Process:
    """Ticks are CPU time, its own and that of its children that have ended."""

    pid: int
    parent: int
    ticks: int

    @classmethod
    def parse(cls, stat: str) -> Process:
        """A line of /proc/PID/stat, whose second field is a name that may contain anything."""
        fields = ["", "", "", *stat.rpartition(")")[2].split()]
        times = fields[USER_TIME : USER_TIME + NUM_TIMES]
        return cls(int(stat.split(maxsplit=1)[0]), int(fields[PARENT]), sum(map(int, times)))


def tree(root: int, proc: Path = PROC) -> list[Process]:
    """Itself and all below it that are still there."""
    there = _all(proc)
    return [each for each in there.values() if _is_below(each, root, there)]


def _is_below(process: Process | None, root: int, there: Mapping[int, Process]) -> bool:
    while process is not None and process.pid != root:
        process = there.get(process.parent)
    return process is not None


def _all(proc: Path) -> dict[int, Process]:
    found = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            process = Process.parse(path.read_text())
        except OSError:  # it has ended since
            continue
        found[process.pid] = process
    return found
