"""The main thread of the engine: both kinds of work go on, and idling is told."""

import queue
import time
from dataclasses import dataclass, field

import pytest

from gguf_server.engine import loop as loop_module
from gguf_server.engine.embedder import Embedder, NewEmbedding
from gguf_server.engine.generator import Generator, NewSequence
from gguf_server.engine.loop import Command, Loop
from gguf_server.engine.pace import StepPacer
from gguf_server.wire.messages import Cancel, Embed, FromEngine, Heartbeat, Submit
from tests.fakes import FakeVectorRunner
from tests.server.engine.test_generator import Bench as Generation
from tests.server.engine.test_generator import make_bench, prompt_of


@dataclass
class Bench:
    """A loop over fakes that is turned by hand."""

    generates: bool = True
    embeds: bool = True
    commands: "queue.SimpleQueue[Command]" = field(default_factory=queue.SimpleQueue)
    sent: list[FromEngine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vectors = FakeVectorRunner()
        pacer = StepPacer(target_seconds=17, max_batch_tokens=32, seconds_per_token=1.0)
        pacer.observe = lambda num_tokens, seconds: None  # type: ignore[method-assign]
        self.embedder = Embedder(runner=self.vectors, pacer=pacer, send=self.sent.append)
        self.generation: Generation = make_bench()
        generator: Generator | None = self.generation.engine if self.generates else None
        self.loop = Loop(generator, self.embedder if self.embeds else None, self.sent.append)

    def submit(self, request_id: int, max_tokens: int) -> None:
        submit = Submit(id=request_id, prompt="", max_tokens=max_tokens)
        self.commands.put(NewSequence(submit, prompt_of(request_id, 5)))

    def embed(self, request_id: int, num_tokens: int) -> None:
        self.commands.put(NewEmbedding(Embed(id=request_id, input=()), [1] * num_tokens))

    def turn(self) -> None:
        self.loop.take_commands(self.commands)
        self.loop.step()


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "HEARTBEAT_SECONDS", 0.01)


@pytest.mark.usefixtures("quick_beats")
@pytest.mark.parametrize(("generates", "embeds"), [(True, True), (True, False), (False, True)])
def test_an_idle_loop_beats(generates: bool, embeds: bool) -> None:
    bench = Bench(generates, embeds)
    for _ in range(5):
        bench.turn()
    assert bench.sent == [Heartbeat()] * 5


def test_a_loop_with_work_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "HEARTBEAT_SECONDS", 60.0)
    bench = Bench()
    bench.embed(1, 30)
    bench.embed(2, 30)
    bench.submit(3, max_tokens=5)
    began = time.monotonic()
    for _ in range(4):
        bench.turn()
    assert time.monotonic() - began < 30
    assert [len(batch) for batch in bench.vectors.batches] == [1, 1]


def test_generation_and_embeddings_take_turns() -> None:
    bench = Bench()
    bench.submit(1, max_tokens=12)
    for number in range(10, 18):
        bench.embed(number, 12)
    for turn in range(1, 9):
        bench.turn()
        assert len(bench.generation.outputs) == turn
        assert len(bench.vectors.batches) == turn, "beside a stream, one input of 12 is a batch"


def test_without_streams_a_batch_of_inputs_is_full() -> None:
    bench = Bench()
    for number in range(1, 5):
        bench.embed(number, 8)
    bench.turn()
    assert [len(batch) for batch in bench.vectors.batches] == [4]


def test_a_cancellation_reaches_either_kind_of_work() -> None:
    bench = Bench()
    bench.submit(1, max_tokens=50)
    bench.embed(2, 3)
    for number in (1, 2):
        bench.commands.put(Cancel(number))
    bench.loop.take_commands(bench.commands)
    assert bench.generation.engine.is_idle
    assert bench.embedder.is_idle
