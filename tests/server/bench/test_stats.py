from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.bench.client import Failure, Outcome
from gguf_server.bench.load import Run
from gguf_server.bench.stats import failures, percentile, summarize


def outcome(*text_at: float, failure: str | None = None, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "submitted_at": 1.0,
        "finished_at": text_at[-1] if text_at else 1.0,
        "text_at": text_at,
        "num_prompt_tokens": 10,
        "num_cached_tokens": 4,
        "num_output_tokens": 2 * len(text_at),
        "failure": Failure(failure, "why") if failure else None,
    }
    return Outcome(**(values | changes))


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
    seen = summarize(Run((outcome(1.5, 1.6), outcome(1.1, 9.0, failure="timeout")), 9.0, 0.1))
    assert (seen.num_completed, seen.num_requests) == (1, 2)
    assert seen.num_output_tokens == 4
    assert seen.longest_pause_seconds == pytest.approx(0.1)


def test_nothing_completed_leaves_times_unknown() -> None:
    seen = summarize(Run((outcome(failure="timeout"),), 1.0, 0.1))
    assert seen.ttft_p50_seconds is None
    assert seen.longest_pause_seconds is None


def test_failures_are_counted_by_kind_the_most_frequent_first() -> None:
    kinds = ("timeout", "HTTP 429", None, "HTTP 429")
    run = Run(tuple(outcome(1.5, failure=kind) for kind in kinds), 1.0, 0.1)
    assert list(failures(run).items()) == [("HTTP 429", 2), ("timeout", 1)]


def test_answers_that_ended_early_are_complete_but_short() -> None:
    seen = summarize(Run((outcome(1.5, num_missing_tokens=3), outcome(1.5)), 1.0, 0.1))
    assert (seen.num_completed, seen.num_short) == (2, 1)
