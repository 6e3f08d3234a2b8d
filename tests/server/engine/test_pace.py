"""The prefill budget: what running streams can be asked to wait for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.engine.pace import StepPacer


def make_pacer(seconds_per_token: float = 0.001) -> StepPacer:
    return StepPacer(target_seconds=0.1, max_batch_tokens=512, seconds_per_token=seconds_per_token)


def test_without_streams_a_step_may_fill_the_batch_however_slow_the_machine() -> None:
    assert make_pacer(seconds_per_token=10).prefill_budget(0) == 512


def test_beside_streams_a_step_takes_what_the_target_allows() -> None:
    assert make_pacer().prefill_budget(8) == 100 - 8


def test_a_fast_machine_is_limited_by_the_batch() -> None:
    assert make_pacer(seconds_per_token=1e-6).prefill_budget(12) == 500


def test_prompts_get_on_even_where_the_target_cannot_be_met() -> None:
    assert make_pacer(seconds_per_token=1).prefill_budget(8) == 16


def test_the_floor_does_not_burst_the_batch() -> None:
    pacer = StepPacer(target_seconds=0.1, max_batch_tokens=16, seconds_per_token=1)
    assert pacer.prefill_budget(10) == 6


@given(
    num_decoding=st.integers(0, 512),
    observed=st.lists(st.tuples(st.integers(1, 512), st.floats(0, 100)), max_size=20),
)
def test_streams_and_prompts_together_never_exceed_the_batch(
    num_decoding: int, observed: list[tuple[int, float]]
) -> None:
    pacer = make_pacer()
    for num_tokens, seconds in observed:
        pacer.observe(num_tokens, seconds)
    budget = pacer.prefill_budget(num_decoding)
    assert 0 <= budget <= 512 - num_decoding


def test_the_budget_follows_the_measured_cost_and_forgets_one_slow_step() -> None:
    pacer = make_pacer(seconds_per_token=0.001)
    for _ in range(50):
        pacer.observe(100, 0.2)
    assert pacer.prefill_budget(1) == pytest.approx(49, abs=1)
    pacer.observe(100, 2.0)
    slow = pacer.prefill_budget(1)
    for _ in range(20):
        pacer.observe(100, 0.2)
    assert slow < pacer.prefill_budget(1) == pytest.approx(49, abs=2)
