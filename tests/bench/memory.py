"""How much memory the processes of a server held at their most.

Reads /proc; elsewhere nothing is known.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.bench.processes import PROC, tree

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_bytes(pid: int, proc: Path = PROC) -> int | None:
    """Sum of the peaks of a process and of all below it that are still there. A page of the model's
    file counts, and one that several processes share counts once for each."""
    return sum(_peak(proc / str(each.pid)) for each in tree(pid, proc)) or None


def _peak(process: Path) -> int:
    try:
        found = _PEAK.search((process / "status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0
