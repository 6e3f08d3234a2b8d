"""Who used the cores during a run: the server, the client, or programs that spoil the numbers.

Reads /proc; elsewhere nothing is known and every figure is None.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Fields of /proc/PID/stat, counted as proc(5) does; four times stand in a row.
SESSION, USER_TIME, NUM_TIMES = 6, 14, 4


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    machine: float
    session: float

    def __sub__(self, earlier: CpuSeconds) -> CpuSeconds:
        return CpuSeconds(self.machine - earlier.machine, self.session - earlier.session)


def read(session_id: int) -> CpuSeconds | None:
    """CPU time so far of the whole machine and of all processes of a session."""
    try:
        machine = machine_ticks((PROC / "stat").read_text())
    except OSError:
        return None
    session = sum(session_ticks(line, session_id) for line in _process_lines())
    ticks = os.sysconf("SC_CLK_TCK")
    return CpuSeconds(machine / ticks, session / ticks)


def machine_ticks(stat: str) -> int:
    """User, nice, system, and what follows idle and iowait: interrupts and time stolen from us."""
    _, *fields = stat.splitlines()[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, fields[:8])
    return user + nice + system + irq + softirq + stolen


def session_ticks(line: str, session_id: int) -> int:
    """Its own time and that of its children that have ended; the name may contain spaces."""
    fields = ["", "", "", *line.rpartition(")")[2].split()]
    if int(fields[SESSION]) != session_id:
        return 0
    return sum(int(field) for field in fields[USER_TIME : USER_TIME + NUM_TIMES])


def _process_lines() -> list[str]:
    lines = []
    for path in PROC.glob("[0-9]*/stat"):
        try:
            lines.append(path.read_text())
        except OSError:  # it has ended since
            continue
    return lines
