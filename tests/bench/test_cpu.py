import os

from tests.bench.cpu import machine_ticks, read, session_ticks


def test_idle_and_waiting_for_disks_is_not_busy() -> None:
    assert machine_ticks("cpu  100 20 30 9000 800 1 2 3 0 0\ncpu0 1 1 1 1\n") == 156


def test_a_process_counts_in_its_session_only_whatever_its_name() -> None:
    fields = "S 1 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1"
    assert session_ticks(f"9 (a (b) c) {fields}", 7) == 110
    assert session_ticks(f"9 (a (b) c) {fields}", 8) == 0


def test_this_very_session_uses_no_more_than_the_machine() -> None:
    first = read(os.getsid(0))
    second = read(os.getsid(0))
    if first is None or second is None:
        return  # no /proc here
    assert (second - first).machine >= 0
    assert second.session > 0
