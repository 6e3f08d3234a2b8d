import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.processes import PROC, Process, tree

HAS_A_CHILD_IN_ANOTHER_SESSION = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, start_new_session=True)
print(child.pid, flush=True)
input()
"""


def test_a_process_is_read_whatever_its_name() -> None:
    fields = "S 1 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1"
    assert Process.parse(f"9 (a (b) c) {fields}") == Process(pid=9, parent=1, ticks=110)


def test_all_below_a_process_are_its_own_whatever_their_session() -> None:
    if not PROC.is_dir():
        pytest.skip("there is no /proc here")
    with subprocess.Popen(
        [sys.executable, "-c", HAS_A_CHILD_IN_ANOTHER_SESSION],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert {each.pid for each in tree(parent.pid)} == {parent.pid, child}
        parent.communicate("\n")


def test_what_is_gone_has_no_tree(tmp_path: Path) -> None:
    assert tree(7, tmp_path) == []
