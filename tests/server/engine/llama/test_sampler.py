"""Choosing a token: each parameter, the seed, and what the penalties look at."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from gguf_server.engine.llama.sampler import TokenSampler
from gguf_server.errors import InternalError
from gguf_server.wire.messages import SamplingParams

VOCAB, END = 1000, frozenset({2, 7})


def logits(**values: float) -> np.ndarray:
    """Zeros, with ``t5=3.0`` at token 5."""
    row = np.zeros(VOCAB, np.float32)
    for name, value in values.items():
        row[int(name[1:])] = value
    return row


def sampler(prompt: tuple[int, ...] = (), **params) -> TokenSampler:
    return TokenSampler(SamplingParams(**params), prompt, END)


def choose(one: TokenSampler, row: np.ndarray) -> int:
    return one.choose(row.copy(), np.empty_like(row))


def draws(row: np.ndarray, count: int = 200, **params) -> Counter[int]:
    one = sampler(**{"seed": 1, **params})
    return Counter(choose(one, row) for _ in range(count))


def test_temperature_zero_takes_the_largest_logit():
    assert set(draws(logits(t5=0.1), temperature=0)) == {5}


def test_plain_draws_follow_the_softmax():
    row = np.full(VOCAB, -np.inf, np.float32)
    row[[3, 400, 999]] = np.log([0.2, 0.5, 0.3])
    counts = draws(row, 5000)
    assert set(counts) == {3, 400, 999}
    assert counts[400] / 5000 == pytest.approx(0.5, abs=0.03)
    assert counts[999] / 5000 == pytest.approx(0.3, abs=0.03)


def test_a_high_temperature_draws_more_tokens_than_a_low_one():
    row = np.random.default_rng(0).normal(0, 2, VOCAB).astype(np.float32)
    assert len(draws(row, temperature=2.0)) > len(draws(row, temperature=0.3))


def test_a_tiny_temperature_is_the_largest_logit():
    row = np.random.default_rng(0).normal(0, 2, VOCAB).astype(np.float32)
    assert set(draws(row, temperature=1e-30)) == {int(row.argmax())}


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"top_k": 2}, {1, 2}),
        ({"top_p": 0.5}, {1}),
        ({"min_p": 0.5}, {1, 2}),
        ({"typical_p": 0.2}, {2}),
        ({"top_k": 3, "temperature": 5.0}, {1, 2, 3}),
    ],
    ids=str,
)
def test_each_truncation_keeps_its_tokens(params: dict[str, float], kept: set[int]):
    row = np.full(VOCAB, -np.inf, np.float32)
    row[[1, 2, 3, 4]] = np.log([0.5, 0.3, 0.15, 0.05])
    assert set(draws(row, 500, **params)) == kept


def test_the_same_seed_draws_the_same_tokens_and_zero_is_a_seed():
    row = np.random.default_rng(0).normal(0, 1, VOCAB).astype(np.float32)

    def run(seed: int | None) -> list[int]:
        one = sampler(seed=seed)
        return [choose(one, row) for _ in range(20)]

    assert run(0) == run(0)
    assert run(-1) == run(-1)
    assert len({tuple(run(seed)) for seed in (0, 1, -1, 2**63, None)}) == 5
    assert run(None) != run(None)


def test_a_bias_forces_a_token_and_bans_another():
    assert set(draws(logits(t5=9.0), logit_bias={6: 100.0})) == {6}
    assert set(draws(logits(t5=9.0), temperature=0, logit_bias={5: -100.0})) == {0}


def test_ignore_eos_never_draws_an_end_token():
    row = logits(t2=50.0, t7=50.0, t9=20.0)
    assert set(draws(row)) == {2, 7}
    assert set(draws(row, ignore_eos=True)) == {9}
    assert set(draws(row, ignore_eos=True, logit_bias={2: 100.0})) == {9}


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_presence_and_frequency_penalties_ignore_the_prompt(name: str):
    one = sampler(prompt=(5, 5, 5), temperature=0, **{name: 2.0})
    row = logits(t5=3.0, t6=2.0)
    assert [choose(one, row) for _ in range(3)] == [5, 6, 5]


def test_frequency_counts_and_presence_does_not():
    row = logits(t5=3.5, t6=1.0)
    present = sampler(temperature=0, presence_penalty=1.0)
    frequent = sampler(temperature=0, frequency_penalty=1.0)
    assert [choose(present, row) for _ in range(5)] == [5, 5, 5, 5, 5]
    assert [choose(frequent, row) for _ in range(5)] == [5, 5, 5, 6, 5]


def test_the_repeat_penalty_sees_the_end_of_the_prompt_and_forgets_beyond_its_window():
    row = logits(t5=3.0, t6=2.0)
    params: dict[str, Any] = {"temperature": 0, "repeat_penalty": 2.0}
    assert choose(sampler(prompt=(5, 1, 1), repeat_last_n=3, **params), row) == 6
    assert choose(sampler(prompt=(5, 1, 1), repeat_last_n=2, **params), row) == 5
    assert choose(sampler(prompt=(5, 1, 1), repeat_last_n=0, **params), row) == 5
    assert choose(sampler(prompt=(5, *[1] * 500), repeat_last_n=-1, **params), row) == 6
    alternating = sampler(repeat_last_n=1, **params)
    assert [choose(alternating, row) for _ in range(4)] == [5, 6, 5, 6]


def test_the_repeat_penalty_pushes_a_negative_logit_down():
    row = np.full(VOCAB, -9.0, np.float32)
    row[[5, 6]] = -1.0, -1.5
    one = sampler(prompt=(5,), temperature=0, repeat_penalty=2.0)
    assert choose(one, row) == 6


@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_an_error_with_advice(temperature: float):
    one = sampler(temperature=temperature)
    with pytest.raises(InternalError, match="logit_bias"):
        choose(one, logits(t9=float("nan")))
    with pytest.raises(InternalError):
        choose(one, np.full(VOCAB, -np.inf, np.float32))


def test_close_may_be_called_twice():
    one = sampler()
    one.close()
    one.close()
