"""When a lost engine is started again, and when not any more."""

from gguf_server.supervisor.restart import RestartPolicy


def test_the_first_crash_is_answered_at_once_and_the_next_ones_with_growing_patience() -> None:
    policy = RestartPolicy(max_crashes=6, window_seconds=600)
    assert [policy.crashed(now) for now in range(5)] == [0.0, 1.0, 5.0, 5.0, 5.0]


def test_the_last_allowed_crash_is_the_end() -> None:
    policy = RestartPolicy(max_crashes=3, window_seconds=600)
    assert [policy.crashed(now) for now in (0, 300, 600)] == [0.0, 1.0, None]


def test_crashes_outside_the_window_are_forgotten() -> None:
    policy = RestartPolicy(max_crashes=3, window_seconds=600)
    delays = []
    for now in (0, 300, 601, 902, 1503):
        policy.ready(now)
        delays.append(policy.crashed(now + 0.5))
    assert delays == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_crashes_without_an_engine_that_served_in_between_are_never_forgotten() -> None:
    policy = RestartPolicy(max_crashes=3, window_seconds=600)
    assert [policy.crashed(now) for now in (300, 601, 902)] == [0.0, 1.0, None]
    policy = RestartPolicy(max_crashes=3, window_seconds=10)
    policy.ready(1)
    assert [policy.crashed(now) for now in (300, 600, 900)] == [0.0, 1.0, None]


def test_one_allowed_crash_means_that_none_is_forgiven() -> None:
    assert RestartPolicy(max_crashes=1, window_seconds=600).crashed(0) is None
