"""Log-probabilities are those of a plain softmax over the raw logits."""

import numpy as np
import pytest

from gguf_server.engine.llama.logprobs import LEAST, Logprobs
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.engine.runner import Chunk
from gguf_server.wire.messages import SamplingParams


@pytest.fixture
def row(any_layout: LlamaModel) -> np.ndarray:
    size = len(any_layout.vocabulary)
    return np.random.default_rng(1).normal(0, 4, size).astype(np.float32)


def test_they_are_a_softmax(any_layout: LlamaModel, row: np.ndarray) -> None:
    logprobs = Logprobs(row, any_layout.vocabulary)
    exact = row.astype(np.float64) - np.log(np.exp(row.astype(np.float64)).sum())
    for token in (0, 17, int(row.argmax())):
        assert logprobs.of(token, 0).logprob == pytest.approx(exact[token], abs=1e-4)


def test_the_likeliest_come_first_and_are_as_many_as_asked_for(
    any_layout: LlamaModel, row: np.ndarray
) -> None:
    answer = Logprobs(row, any_layout.vocabulary).of(5, 20)
    assert [each.token for each in answer.likeliest] == np.argsort(-row)[:20].tolist()
    assert Logprobs(row, any_layout.vocabulary).of(5, 0).likeliest == ()


def test_a_token_that_cannot_be_is_a_number_that_json_has(
    any_layout: LlamaModel, row: np.ndarray
) -> None:
    row[3] = -np.inf
    assert Logprobs(row, any_layout.vocabulary).of(3, 0).logprob == LEAST


def test_sampling_afterwards_does_not_change_them(runner: LlamaRunner) -> None:
    [first] = runner.fill([Chunk(0, 0, [1, 500, 900], num_outputs=1)])
    runner.decode()
    logprobs = runner.logprobs(first)
    before = logprobs.of(700, 5)
    bias = SamplingParams(temperature=0, logit_bias={700: 100.0})
    assert runner.sample(first, runner.new_sampler(bias, [], None)) == 700
    assert logprobs.of(700, 5) == before


def test_rows_of_a_whole_chunk_are_those_of_its_tokens_one_by_one(runner: LlamaRunner) -> None:
    tokens = [1, 500, 900, 33, 34]
    [first] = runner.fill([Chunk(0, 0, tokens, num_outputs=len(tokens))])
    runner.decode()
    together = [runner.logits(first + offset) for offset in range(len(tokens))]
    for position, token in enumerate(tokens):
        [row] = runner.fill([Chunk(1, position, [token], num_outputs=1)])
        runner.decode()
        assert np.array_equal(runner.logits(row), together[position])


def test_control_tokens_are_spelled(any_layout: LlamaModel, row: np.ndarray) -> None:
    assert Logprobs(row, any_layout.vocabulary).of(1, 0).piece == b"<|im_start|>"
