"""Upper bounds of tokens a second."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_deploy.planning.calibration import HOST_BYTES_PER_SECOND
from gguf_deploy.planning.speed import speed_bounds
from tests.deploy.planning.fakes import blueprint

TERABYTE = 1e12
DENSE = replace(blueprint(1).description, size_bytes=10**10, active_bytes=10**10, expert_bytes=0)
# 8 experts of which 2 are met: 1 GB for everybody, 8 GB in experts.
MIXTURE = replace(
    DENSE,
    size_bytes=9 * 10**9,
    active_bytes=3 * 10**9,
    expert_bytes=8 * 10**9,
    num_experts=8,
    num_experts_used=2,
)


def test_one_stream_reads_what_a_token_needs() -> None:
    assert speed_bounds(DENSE, 1, TERABYTE).one_stream_tokens_per_second == pytest.approx(100)
    assert speed_bounds(MIXTURE, 1, TERABYTE).one_stream_tokens_per_second == pytest.approx(
        333.3, 0.001
    )


def test_streams_of_a_dense_model_share_all_that_they_read() -> None:
    assert speed_bounds(DENSE, 16, TERABYTE).all_slots_tokens_per_second == pytest.approx(1600)


def test_streams_of_a_mixture_meet_different_experts() -> None:
    """By chance: of two streams each misses an expert with 3/4, both with 9/16."""
    bound = speed_bounds(MIXTURE, 2, TERABYTE).all_slots_tokens_per_second
    assert bound == pytest.approx(2 / ((1e9 + 8e9 * (1 - 9 / 16)) / TERABYTE))


def test_what_lies_on_the_host_is_read_at_the_hosts_pace() -> None:
    bound = speed_bounds(DENSE, 1, TERABYTE, offloaded_bytes=5 * 10**9)
    seconds = 5e9 / TERABYTE + 5e9 / HOST_BYTES_PER_SECOND
    assert bound.one_stream_tokens_per_second == pytest.approx(1 / seconds)


def test_of_experts_on_the_host_those_are_read_that_are_met() -> None:
    bound = speed_bounds(MIXTURE, 1, TERABYTE, 8 * 10**9, only_experts=True)
    seconds = 1e9 / TERABYTE + 2e9 / HOST_BYTES_PER_SECOND
    assert bound.one_stream_tokens_per_second == pytest.approx(1 / seconds)


@given(st.integers(1, 256), st.integers(0, 9 * 10**9))
def test_more_streams_are_never_slower_together_nor_faster_each(slots: int, offloaded: int) -> None:
    one = speed_bounds(MIXTURE, slots, TERABYTE, offloaded)
    more = speed_bounds(MIXTURE, slots + 1, TERABYTE, offloaded)
    together = more.all_slots_tokens_per_second
    assert together >= one.all_slots_tokens_per_second
    assert together / (slots + 1) <= one.one_stream_tokens_per_second * 1.000001
