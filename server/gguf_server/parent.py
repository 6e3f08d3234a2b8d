"""What a child process owes its parent: to end with it, and to be the first to go."""

import contextlib
import ctypes
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_MORE_OOM_SCORE = 300  # as if we had 30 % of all memory more than we have


def die_with_parent() -> None:
    """Linux kills us: a stopped or busy child cannot notice by itself. No effect elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def go_first_when_memory_runs_out() -> None:
    """The kernel should kill us, not our parent: it lives to say so and to start another."""
    with contextlib.suppress(OSError, ValueError):  # not Linux, or not allowed
        score = int(_OOM_SCORE.read_text())
        _OOM_SCORE.write_text(str(min(1000, score + _MORE_OOM_SCORE)))
