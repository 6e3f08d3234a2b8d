"""Embeddings on a fake model: whole inputs, in order, and each answered once."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.engine.embedder import Embedder, NewEmbedding, normalised
from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import Vector
from gguf_server.wire.messages import Cancel, Embed, Embedded, FromEngine, Rejected
from tests.fakes import FakeVectorRunner, vector_of


@dataclass
class Bench:
    """An embedder on a fake runner. A token costs one second: beside streams, 16 are a batch."""

    runner: FakeVectorRunner = field(default_factory=FakeVectorRunner)
    sent: list[FromEngine] = field(default_factory=list)

    def __post_init__(self) -> None:
        pacer = StepPacer(
            target_seconds=17, max_batch_tokens=self.runner.max_tokens, seconds_per_token=1.0
        )
        pacer.observe = lambda num_tokens, seconds: None  # type: ignore[method-assign]
        self.embedder = Embedder(runner=self.runner, pacer=pacer, send=self.sent.append)

    def add(self, request_id: int, tokens: list[int], dimensions: int | None = None) -> None:
        embed = Embed(id=request_id, input=(), dimensions=dimensions)
        self.embedder.handle(NewEmbedding(embed, tokens))

    def run(self, *, beside_streams: bool = False) -> None:
        for _ in range(1000):
            if self.embedder.is_idle:
                return
            self.embedder.step(beside_streams=beside_streams)
        pytest.fail("the embedder never became idle")

    def vector(self, number: int) -> Vector:
        answer = self.sent[number]
        assert isinstance(answer, Embedded)
        return np.frombuffer(answer.vector, "<f4")


@given(
    lengths=st.lists(st.integers(1, 32), min_size=1, max_size=20),
    max_inputs=st.integers(1, 6),
    beside_streams=st.booleans(),
)
def test_every_input_is_answered_once_in_order_with_its_own_vector(
    lengths: list[int], max_inputs: int, beside_streams: bool
) -> None:
    bench = Bench(FakeVectorRunner(max_inputs=max_inputs))
    inputs = [[number + 1] * length for number, length in enumerate(lengths)]
    for number, tokens in enumerate(inputs):
        bench.add(number, tokens)
    bench.run(beside_streams=beside_streams)
    assert [answer.id for answer in bench.sent] == list(range(len(inputs)))  # type: ignore[union-attr]
    for number, tokens in enumerate(inputs):
        unit = normalised(vector_of(tokens))
        assert unit is not None
        assert np.array_equal(bench.vector(number), unit)
        assert np.linalg.norm(bench.vector(number)) == pytest.approx(1.0, abs=1e-6)
    assert [answer.num_tokens for answer in bench.sent] == lengths  # type: ignore[union-attr]


def test_as_many_inputs_as_fit_are_computed_together() -> None:
    bench = Bench()
    for number, length in enumerate([10, 10, 10, 10, 1, 1, 1, 1, 1]):
        bench.add(number, [1] * length)
    bench.run()
    assert [list(map(len, batch)) for batch in bench.runner.batches] == [
        [10, 10, 10],
        [10, 1, 1, 1],
        [1, 1],
    ]


def test_beside_streams_a_batch_is_short_unless_one_input_is_long() -> None:
    bench = Bench()
    for number, length in enumerate([8, 8, 8, 30, 4]):
        bench.add(number, [1] * length)
    bench.run(beside_streams=True)
    assert [list(map(len, batch)) for batch in bench.runner.batches] == [[8, 8], [8], [30], [4]]


def test_a_cancelled_input_is_neither_computed_nor_answered() -> None:
    bench = Bench()
    for number in range(4):
        bench.add(number, [number + 1] * 3)
    bench.embedder.handle(Cancel(2))
    bench.embedder.handle(Cancel(99))
    bench.run()
    assert [answer.id for answer in bench.sent] == [0, 1, 3]  # type: ignore[union-attr]
    assert [3, 3, 3] not in bench.runner.batches[0]
    bench.add(5, [1])
    bench.embedder.handle(Cancel(5))
    assert bench.embedder.is_idle


def test_fewer_dimensions_are_the_first_ones_with_length_1_again() -> None:
    bench = Bench()
    bench.add(1, [1, 2, 3], dimensions=2)
    bench.run()
    first = vector_of([1, 2, 3])[:2]
    assert bench.vector(0) == pytest.approx(first / np.linalg.norm(first))
    assert len(bench.vector(0)) == 2


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_input_without_a_usable_vector_fails_alone(bad: float) -> None:
    class Runner(FakeVectorRunner):
        def embed(self, inputs: object) -> list[Vector]:
            return [np.full(4, value, np.float32) for value in (1.0, bad, 1.0)]

    bench = Bench(Runner())
    for number in range(3):
        bench.add(number, [1])
    bench.run()
    good, failed, other = bench.sent
    assert isinstance(failed, Rejected)
    assert (failed.id, failed.code) == (1, "internal_error")
    assert isinstance(good, Embedded)
    assert isinstance(other, Embedded)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiny_and_huge_vectors_have_length_1_too(scale: float) -> None:
    unit = normalised(np.array([3.0, 4.0], np.float32) * np.float32(scale))
    assert unit == pytest.approx([0.6, 0.8])
