import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.memory import peak_bytes

HOLDS_AND_WAITS = "held = b'x' * (50 << 20); del held; print(flush=True); input()"


def process(proc: Path, pid: int, parent: int, peak_kb: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(
        f"{pid} (a ) b) S {parent} 1 1 0 -1 0 1 2 3 4 5 6 7 8 9\n"
    )
    (proc / str(pid) / "status").write_text(f"Name:\tx\nVmHWM:\t{peak_kb:8} kB\nVmRSS:\t1 kB\n")


def test_the_peaks_of_a_process_and_all_below_it_are_added_up(tmp_path: Path) -> None:
    for pid, session, peak_kb in ((7, 1, 1000), (8, 7, 20), (9, 8, 4), (11, 1, 5000)):
        process(tmp_path, pid, session, peak_kb)
    (tmp_path / "10").mkdir()  # ended while it was looked at
    assert peak_bytes(7, tmp_path) == 1024 << 10
    assert peak_bytes(6, tmp_path) is None
    assert peak_bytes(11, tmp_path) == 5000 << 10


def test_what_was_held_for_a_moment_counts() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc here")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_AND_WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert (peak_bytes(child.pid) or 0) > 50 << 20
        child.communicate(b"\n")
