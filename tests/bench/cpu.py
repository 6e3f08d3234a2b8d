"""Who used the cores during a run: the server, the client, or programs that spoil the numbers.

Reads /proc; elsewhere nothing is known and every figure is None.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tests.bench.processes import PROC, tree


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    machine: float
    server: float

    def __sub__(self, earlier: CpuSeconds) -> CpuSeconds:
        return CpuSeconds(self.machine - earlier.machine, self.server - earlier.server)


def read(pid: int) -> CpuSeconds | None:
    """CPU time so far of the whole machine, and of a process and all below it."""
    try:
        machine = machine_ticks((PROC / "stat").read_text())
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return CpuSeconds(machine / ticks, sum(each.ticks for each in tree(pid)) / ticks)


def machine_ticks(stat: str) -> int:
    """User, nice, system, and what follows idle and iowait: interrupts and time stolen from us."""
    _, *fields = stat.splitlines()[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, fields[:8])
    return user + nice + system + irq + softirq + stolen
