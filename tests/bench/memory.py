"""How much memory the processes of a server held at their most.

Reads /proc; elsewhere nothing is known.
"""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_bytes(session_id: int, proc: Path = PROC) -> int | None:
    """Sum of the peaks of all processes that are still there. A page of the model's file counts,
    and one that several processes share counts once for each."""
    peaks = [_peak(path) for path in proc.glob("[0-9]*") if _session(path) == session_id]
    return sum(peaks) or None


def _session(process: Path) -> int | None:
    try:
        stat = (process / "stat").read_text()
    except OSError:  # it has ended since
        return None
    return int(stat.rpartition(")")[2].split()[3])


def _peak(process: Path) -> int:
    try:
        found = _PEAK.search((process / "status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0
