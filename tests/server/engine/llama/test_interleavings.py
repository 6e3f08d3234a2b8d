"""For every kind of memory: whatever is shared, cut, saved, restored, refused or preempted, each
row of logits is what a fresh context computes from that sequence alone.

With quantized weights and batches below 64 tokens that holds bit by bit on CPU, whatever else is in
a batch, as long as the cells of a sequence lie in the order of its positions. In a unified cache
and in windows, where cells are used again, they do not, and attention adds them up in another
order. Those cases compute in float32, so that only its rounding is left.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from msgspec import structs

from gguf_server.engine.cells import Cells, SplitCells, UnifiedCells
from gguf_server.engine.generator import Generator, NewSequence
from gguf_server.engine.host import HostCache
from gguf_server.engine.llama.model import LlamaModel, load
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.engine.memory import Memory
from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import Chunk
from gguf_server.engine.scheduler import Limits, Scheduler
from gguf_server.engine.slots import Slots
from gguf_server.knobs import KvLayout
from gguf_server.wire.messages import Cancel, EngineConfig, Submit
from tests.fakes import FakeVocabulary
from tests.server.engine.llama.tiny_models import CONTEXT, PIECES, WINDOW

KINDS = ["llama", "sliding-window", "qwen3moe", "recurrent", "hybrid"]
SLOTS, RETAINED, BATCH = 3, 1, 32
LARGEST_BATCH = 63
ACTIONS = ["submit", "step", "cancel", "relieve", "clear"]
NUM_SEEDS = 100  # for each layout
NUM_TOKENS = 259 + len(PIECES)
# Of logits up to 10. Rounding stays below, a single wrong cell must be plain to see above.
ROUNDING = 2e-3
PLAIN_TO_SEE = 50 * ROUNDING


@dataclass(frozen=True)
class Scale:
    """How long prefixes are, and how many cells of a unified cache the scheduler may use."""

    prefix_tokens: int
    cells: int


def scale_of(kind: str, layout: KvLayout) -> Scale:
    if kind != "sliding-window":
        return Scale(60, 160)
    # llama.cpp rounds the cells of windows up to 256, for each slot or for all: go beyond that.
    return Scale(290, 0) if layout == "split" else Scale(120, 320)


@dataclass(eq=False)
class Script:
    """The sampler of one sequence: its tokens, and the logits that each new one was drawn from."""

    tokens: list[int]
    rows: list[np.ndarray] = field(default_factory=list)
    is_complete: bool = False

    def close(self) -> None:
        pass


class Recorder(LlamaRunner):
    """The real runner, drawing tokens by lot; now and then a state does not come back."""

    def __init__(self, model: LlamaModel, seed: int) -> None:
        super().__init__(model)
        self.draw = random.Random(seed)
        self.scripts: list[Script] = []
        self.seen: Counter[str] = Counter()

    def new_sampler(self, params, prompt, grammar):
        self.scripts.append(Script(list(prompt)))
        return self.scripts[-1]

    def sample(self, row: int, sampler: object) -> int:
        script = cast("Script", sampler)
        script.rows.append(self.logits(row))
        script.tokens.append(self.draw.randrange(3, NUM_TOKENS))
        return script.tokens[-1]

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> bool:
        done = super().copy_prefix(source, target, num_tokens)
        self.seen["copied" if done else "lost"] += 1
        return done

    def truncate(self, slot: int, num_tokens: int) -> bool:
        self.seen["cut"] += num_tokens > 0
        return super().truncate(slot, num_tokens)

    def restore(self, slot, state, num_tokens):
        if self.draw.random() < 0.4:
            self.seen["refused"] += 1
            super().truncate(slot, 0)
            return False
        done = super().restore(slot, state, num_tokens)
        self.seen["restored" if done else "lost"] += 1
        return done


@dataclass
class Play:
    """One interleaving: requests that share prefixes come, run, are cancelled, pushed out."""

    runner: Recorder
    generator: Generator
    scheduler: Scheduler
    prefixes: list[list[int]]

    def run(self) -> None:
        draw = self.runner.draw
        for _ in range(draw.randrange(8, 13)):
            action = draw.choices(ACTIONS, [6, 4, 1, 2, 1])[0]
            if action == "submit":
                self._submit()
            elif action == "cancel" and self.runner.scripts:
                self.generator.handle(Cancel(draw.randrange(len(self.runner.scripts))))
            elif action == "relieve":  # what a cache without cells leads to
                self.scheduler.relieve()
            elif action == "clear":
                self._step(1000)
                while self.scheduler.relieve():
                    pass
                self._submit()
            else:
                self._step(draw.randrange(1, 6))
        self._step(1000)
        assert self.scheduler.is_idle

    def _submit(self) -> None:
        draw, scripts = self.runner.draw, self.runner.scripts
        tail = [draw.randrange(3, NUM_TOKENS) for _ in range(draw.randrange(1, 12))]
        prefix = draw.choice(self.prefixes)
        known = draw.choice(scripts).tokens if scripts else prefix
        ways = [
            prefix + tail,
            prefix[: draw.randrange(1, len(prefix))] + tail,
            list(known),
            known + tail,
            known[: draw.randrange(1, len(known) + 1)],
        ]
        prompt = draw.choices(ways, [3, 2, 3, 3, 1])[0][: len(prefix) + 60]
        request = Submit(id=len(scripts), prompt="", max_tokens=draw.randrange(1, 7))
        self.generator.handle(NewSequence(request, prompt))

    def _step(self, count: int) -> None:
        for _ in range(count):
            if not self.scheduler.is_idle:
                self.generator.step()


def new_play(model: LlamaModel, scale: Scale, seed: int) -> Play:
    model.context.clear()
    runner = Recorder(model, seed)
    draw = runner.draw
    memory = model.kind.memory
    assert memory is not None
    ids = SLOTS + RETAINED
    unified = model.config.kv_layout == "unified"
    cells: Cells = UnifiedCells(ids, scale.cells) if unified else SplitCells(ids, CONTEXT)
    host = HostCache(memory, draw.choice([0, 1 << 18, 1 << 24, 1 << 24]))
    slots = Slots(ids, cells, memory, host, runner.first_position)
    limits = Limits(SLOTS, output_reservation_tokens=draw.choice([1, 8]), scored_tokens=8)
    scheduler = Scheduler(limits, slots)
    pacer = StepPacer(target_seconds=24, max_batch_tokens=BATCH, seconds_per_token=1)
    pacer.observe = lambda num_tokens, seconds: None  # type: ignore[method-assign]
    generator = Generator(
        runner=runner,
        vocabulary=FakeVocabulary(),
        scheduler=scheduler,
        pacer=pacer,
        context_tokens=CONTEXT,
        send=lambda message: None,
    )
    prefixes = [
        [draw.randrange(3, NUM_TOKENS) for _ in range(scale.prefix_tokens)] for _ in range(5)
    ]
    branch = draw.randrange(scale.prefix_tokens // 2, scale.prefix_tokens)
    prefixes.append(prefixes[0][:branch] + prefixes[1][:20])
    return Play(runner, generator, scheduler, prefixes)


def put(
    runner: LlamaRunner, slot: int, start: int, tokens: list[int], batch_tokens: int = BATCH
) -> np.ndarray:
    """Compute in small batches; the logits after each token."""
    rows = []
    for at in range(0, len(tokens), batch_tokens):
        part = tokens[at : at + batch_tokens]
        [first] = runner.fill([Chunk(slot, start + at, part, num_outputs=len(part))])
        runner.decode()
        rows += [runner.logits(first + offset) for offset in range(len(part))]
    return np.array(rows)


def alone(model: LlamaModel, tokens: list[int]) -> np.ndarray:
    """The logits after each token, computed in an empty context with nothing else."""
    model.context.clear()
    return put(LlamaRunner(model), 0, 0, tokens)


def is_exact(kind: str, layout: KvLayout) -> bool:
    """Whether cells lie in order, if there are any."""
    return kind == "recurrent" or (layout == "split" and kind != "sliding-window")


def largest_difference(rows: list[np.ndarray], expected: np.ndarray) -> float:
    return float(np.abs(np.array(rows) - expected).max())


@dataclass
class Pair:
    """A model to play with, and the same one for sequences alone in an empty context."""

    model: LlamaModel
    other: LlamaModel
    tolerance: float

    def alone(self, tokens: list[int]) -> np.ndarray:
        """The logits after each token."""
        self.other.context.clear()
        return put(LlamaRunner(self.other), 0, 0, tokens, LARGEST_BATCH)


@pytest.fixture
def pair(kind: str, layout: KvLayout, tiny: Callable[..., Path]) -> Iterator[Pair]:
    exact = is_exact(kind, layout)
    config = EngineConfig(
        model_path=str(tiny(kind, quantized=exact)),
        context_tokens=CONTEXT,
        slots=SLOTS,
        retained_prefixes=RETAINED,
        kv_layout=layout,
        kv_cells=CONTEXT if layout == "unified" else 0,
        max_batch_tokens=BATCH,
        flash_attention="auto" if exact else "off",
        cache_type_k="f16" if exact else "f32",
        cache_type_v="f16" if exact else "f32",
    )
    single = structs.replace(config, slots=1, retained_prefixes=0, max_batch_tokens=LARGEST_BATCH)
    model, other = (load(each, lambda *_: None, sink=lambda *_: None) for each in (config, single))
    yield Pair(model, other, 0.0 if exact else ROUNDING)
    model.close()
    other.close()


ALL = pytest.mark.parametrize(
    ("kind", "layout"), [(kind, layout) for kind in KINDS for layout in ("split", "unified")]
)


@ALL
def test_a_hundred_interleavings_give_the_logits_of_a_fresh_context(
    pair: Pair, kind: str, layout: KvLayout
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(NUM_SEEDS):
        play = new_play(pair.model, scale_of(kind, layout), seed)
        play.run()
        for number, script in enumerate(play.runner.scripts):
            if script.rows:
                expected = pair.alone(script.tokens[:-1])[-len(script.rows) :]
                difference = largest_difference(script.rows, expected)
                assert difference <= pair.tolerance, f"seed {seed}, sequence {number}"
        seen += play.runner.seen
        seen["preempted"] += play.scheduler.preempted_total
        seen["evicted"] += play.scheduler.evicted_total
    wanted = {"restored", "refused", "preempted", "evicted"}
    exact = cast("Memory", pair.model.kind.memory).exact
    assert wanted | (set() if exact else {"copied", "cut"}) <= seen.keys()


@ALL
def test_one_wrong_token_in_what_is_shared_shows(pair: Pair) -> None:
    draw = random.Random(1)
    tokens = [draw.randrange(3, NUM_TOKENS) for _ in range(60)]
    expected = pair.alone(tokens)[50:]
    wrong = [*tokens[:40], tokens[40] - 1, *tokens[41:50]]
    differences = []
    for shared in (tokens[:50], wrong):
        runner = LlamaRunner(pair.model)
        pair.model.context.clear()
        put(runner, 1, 0, shared)
        state = runner.save(1)
        assert state is not None
        assert runner.restore(2, state, 50)
        rows = put(runner, 2, 50, tokens[50:])
        differences.append(largest_difference(list(rows), expected))
    assert differences[0] <= pair.tolerance
    assert differences[1] > PLAIN_TO_SEE


@pytest.mark.parametrize("kind", ["sliding-window"])
@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_window_model_goes_on_from_the_last_position_it_can_and_not_one_before(
    pair: Pair,
) -> None:
    draw = random.Random(2)
    tokens = [draw.randrange(3, NUM_TOKENS) for _ in range(400)]
    memory = cast("Memory", pair.model.kind.memory)
    runner = LlamaRunner(pair.model)
    differences = []
    for too_early in (0, 1):
        pair.model.context.clear()
        put(runner, 1, 0, tokens)
        first = runner.first_position(1)
        end = first + WINDOW - 1 - too_early
        assert first == memory.first_needed(end) + too_early > 0
        pair.model.context.forget(1, end)  # what ``truncate`` would refuse
        rows = put(runner, 1, end, tokens[end : end + 1])
        expected = pair.alone(tokens[: end + 1])[-1:]
        differences.append(largest_difference(list(rows), expected))
    assert differences[0] <= pair.tolerance
    assert differences[1] > PLAIN_TO_SEE


@pytest.mark.parametrize("kind", ["sliding-window"])
@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_cut_that_the_window_does_not_allow_empties_the_slot(pair: Pair) -> None:
    runner = LlamaRunner(pair.model)
    pair.model.context.clear()
    put(runner, 1, 0, [5] * 400)
    assert not runner.truncate(1, 100)
    assert pair.model.context.last_position(1) == -1


@pytest.mark.parametrize(("kind", "layout"), [("sliding-window", "unified")])
def test_slots_that_share_a_long_prefix_do_not_use_up_the_cells_of_windows(pair: Pair) -> None:
    draw = random.Random(3)
    tokens = [draw.randrange(3, NUM_TOKENS) for _ in range(280)]
    expected = pair.alone(tokens)[-1:]
    runner = LlamaRunner(pair.model)
    pair.model.context.clear()
    put(runner, 0, 0, tokens[:250])
    for slot in (1, 2, 3):
        assert runner.copy_prefix(0, slot, 250)
    for slot in (1, 2, 3):
        rows = put(runner, slot, 250, tokens[250:])
        assert largest_difference(list(rows[-1:]), expected) <= pair.tolerance
