import os

import pytest

from tests.bench.cpu import machine_ticks, read


def test_idle_and_waiting_for_disks_is_not_busy() -> None:
    assert machine_ticks("cpu  100 20 30 9000 800 1 2 3 0 0\ncpu0 1 1 1 1\n") == 156


def test_this_very_process_uses_no_more_than_the_machine() -> None:
    first = read(os.getpid())
    second = read(os.getpid())
    if first is None or second is None:
        pytest.skip("there is no /proc here")
    assert (second - first).machine >= 0
    assert second.server > 0
