import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.client import Outcome
from tests.bench.cpu import CpuSeconds
from tests.bench.load import Run
from tests.bench.stats import Summary, advantage, medians, percentile, summarize


def outcome(*text_at: float, error: str | None = None) -> Outcome:
    return Outcome(
        submitted_at=1.0,
        finished_at=text_at[-1] if text_at else 1.0,
        text_at=text_at,
        num_prompt_tokens=10,
        num_cached_tokens=4,
        num_output_tokens=2 * len(text_at),
        error=error,
    )


def summary(**changes: float) -> Summary:
    run = Run((outcome(1.5, 1.6, 2.6),), wall_seconds=2.0, client_cpu_seconds=0.1)
    values = {name: getattr(summarize(run), name) for name in Summary.__slots__}
    return Summary(**(values | changes))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_lies_between_the_extremes(values: list[float], percent: float) -> None:
    result = percentile(values, percent)
    assert result is not None
    assert min(values) <= result <= max(values)


def test_percentiles_interpolate_between_ranks() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert percentile([1.0], 99) == 1.0
    assert percentile([], 50) is None


def test_tokens_come_from_usage_and_pauses_from_texts() -> None:
    run = Run((outcome(1.5, 1.6, 2.6), outcome(2.0, 2.1)), 2.0, 0.1)
    seen = summarize(run)
    assert seen.num_output_tokens == 10
    assert seen.output_tokens_per_second == 5.0
    assert seen.ttft_p50_seconds == 0.75
    assert seen.longest_pause_seconds == pytest.approx(1.0)


def test_pauses_are_taken_within_a_stream_never_between_streams() -> None:
    seen = summarize(Run((outcome(1.5, 1.6), outcome(9.0, 9.1)), 9.0, 0.1))
    assert seen.longest_pause_seconds == pytest.approx(0.1)


def test_a_failed_request_is_counted_but_adds_no_token_and_no_time() -> None:
    seen = summarize(Run((outcome(1.5, 1.6), outcome(1.1, 9.0, error="cut off")), 9.0, 0.1))
    assert (seen.num_completed, seen.num_requests) == (1, 2)
    assert seen.num_output_tokens == 4
    assert seen.longest_pause_seconds == pytest.approx(0.1)


def test_nothing_completed_leaves_times_unknown() -> None:
    seen = summarize(Run((outcome(error="refused"),), 1.0, 0.1))
    assert seen.ttft_p50_seconds is None
    assert seen.longest_pause_seconds is None
    assert medians([seen, seen]).ttft_p50_seconds is None


def test_medians_are_taken_field_by_field() -> None:
    merged = medians([summary(wall_seconds=wall) for wall in (5.0, 1.0, 3.0)])
    assert merged == summary(wall_seconds=3.0)
    assert isinstance(merged.num_output_tokens, int)


def test_medians_tell_of_a_single_failed_request() -> None:
    merged = medians([summary(num_completed=1), summary(num_completed=0), summary(num_completed=1)])
    assert merged.num_completed == 0


def test_an_advantage_is_against_the_better_peer_whichever_way_better_goes() -> None:
    peers = [summary(output_tokens_per_second=100.0, wall_seconds=30.0)]
    peers += [summary(output_tokens_per_second=50.0, wall_seconds=40.0)]
    ours = summary(output_tokens_per_second=90.0, wall_seconds=10.0)
    assert advantage(ours, peers, "output_tokens_per_second") == pytest.approx(0.9)
    assert advantage(ours, peers, "wall_seconds") == pytest.approx(3.0)


def test_nobody_is_ahead_with_requests_left_undone() -> None:
    half = summary(num_completed=0)
    assert advantage(half, [summary()], "wall_seconds") is None
    assert advantage(summary(), [half], "wall_seconds") is None
    assert advantage(summary(), [], "wall_seconds") is None


def test_cpu_time_that_is_neither_the_servers_nor_the_clients_is_the_others() -> None:
    run = Run((outcome(1.5, 1.6),), wall_seconds=2.0, client_cpu_seconds=0.25)
    seen = summarize(run, CpuSeconds(machine=4.0, session=3.0))
    assert (seen.server_cpu_seconds, seen.others_cpu_seconds) == (3.0, 0.75)
    assert summarize(run).others_cpu_seconds is None
