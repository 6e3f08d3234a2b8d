"""When an engine counts as stuck, and that our own absence is not held against it."""

from gguf_server.supervisor.watchdog import CHECK_SECONDS, Watchdog


def checks(watchdog: Watchdog, start: float, end: float) -> float | None:
    """Ask as often as the supervisor does; the time of the first yes."""
    now = start
    while now < end:
        now += CHECK_SECONDS
        if watchdog.is_stalled(now):
            return now
    return None


def test_silence_over_the_limit_is_a_stall_found_by_the_next_check() -> None:
    found = checks(Watchdog(10, now=0), 0, 100)
    assert found is not None
    assert 10 < found <= 10 + CHECK_SECONDS


def test_silence_of_exactly_the_limit_is_not_yet_a_stall() -> None:
    assert checks(Watchdog(10, now=0), 0, 10) is None


def test_every_sign_of_progress_starts_the_count_anew() -> None:
    watchdog = Watchdog(10, now=0)
    for start in range(0, 90, 9):
        assert checks(watchdog, start, start + 9) is None
        watchdog.progress(start + 9)
    found = checks(watchdog, 90, 200)
    assert found is not None
    assert 100 < found <= 100 + CHECK_SECONDS


def test_a_limit_that_changes_counts_from_the_last_progress() -> None:
    watchdog = Watchdog(10, now=0)
    assert checks(watchdog, 0, 8) is None
    watchdog.limit_seconds = 5
    assert watchdog.is_stalled(8.5)
    assert watchdog.silent_seconds(8.5) == 8.5


def test_a_machine_that_was_suspended_does_not_blame_the_engine() -> None:
    watchdog = Watchdog(10, now=0)
    assert checks(watchdog, 0, 5) is None
    assert not watchdog.is_stalled(3605)
    assert checks(watchdog, 3605, 3615) is None
    assert checks(watchdog, 3615, 3620) is not None, "but it has to go on after that"


def test_a_check_that_is_a_little_late_changes_nothing() -> None:
    watchdog = Watchdog(10, now=0)
    now = 0.0
    while not watchdog.is_stalled(now):
        now += 3 * CHECK_SECONDS
    assert now <= 10 + 3 * CHECK_SECONDS
