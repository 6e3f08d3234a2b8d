"""The engine as a whole on a fake model: whatever is shared, cut or preempted, texts are right."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.engine.cells import SplitCells, UnifiedCells
from gguf_server.engine.generator import Generator, NewSequence
from gguf_server.engine.host import HostCache
from gguf_server.engine.memory import Memory
from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import EngineFatal
from gguf_server.engine.scheduler import Limits, Scheduler
from gguf_server.engine.slots import Slots
from gguf_server.wire.messages import (
    Cancel,
    FromEngine,
    SamplingParams,
    StepOutput,
    Submit,
    TokenLogprob,
)
from tests.fakes import FakeRunner, FakeVocabulary, expected_output, text_of

CONTEXT = 64
WHOLE = Memory()
WINDOW = Memory(window_tokens=8)
STATE = Memory(exact=True)


@dataclass
class Bench:
    """An engine on a fake runner, and everything it said."""

    engine: Generator
    runner: FakeRunner
    scheduler: Scheduler
    prompts: dict[int, tuple[list[int], int | None]] = field(default_factory=dict)
    outputs: list[StepOutput] = field(default_factory=list)

    def submit(self, request_id: int, prompt: list[int], max_tokens: int | None = None) -> None:
        self.prompts[request_id] = (prompt, max_tokens)
        command = NewSequence(Submit(id=request_id, prompt="", max_tokens=max_tokens), list(prompt))
        self.engine.handle(command)

    def submit_as(self, submit: Submit, prompt: list[int]) -> None:
        self.prompts[submit.id] = (prompt, submit.max_tokens)
        self.engine.handle(NewSequence(submit, list(prompt)))

    def scored(self, request_id: int) -> list[TokenLogprob]:
        parts = [part for out in self.outputs for part in out.prompts if part.id == request_id]
        return [token for part in parts for token in part.tokens]

    def cancel(self, request_id: int) -> None:
        self.engine.handle(Cancel(request_id))
        del self.prompts[request_id]

    def step(self) -> StepOutput:
        self.engine.step()
        return self.outputs[-1]

    def run(self) -> None:
        for _ in range(10_000):
            if self.scheduler.is_idle:
                return
            self.step()
        pytest.fail("the engine never became idle")

    def text(self, request_id: int) -> str:
        return "".join(
            delta.text for out in self.outputs for delta in out.deltas if delta.id == request_id
        )

    def expected_text(self, request_id: int) -> str:
        prompt, max_tokens = self.prompts[request_id]
        room = CONTEXT - len(prompt)
        count = room if max_tokens is None else min(room, max_tokens)
        return text_of(expected_output(prompt, count))

    def ends(self) -> Counter[int]:
        finished = Counter(end.id for out in self.outputs for end in out.finished)
        return finished + Counter(end.id for out in self.outputs for end in out.failed)

    def prefill_tokens(self) -> int:
        return sum(out.stats.prefill_tokens for out in self.outputs)


def make_bench(
    *,
    slots: int = 4,
    retained: int = 0,
    cells: int | None = None,
    memory: Memory | None = WHOLE,
    host_bytes: int = 0,
    max_batch_tokens: int = 32,
    target_seconds: float = 8.0,
    reservation: int = 8,
) -> Bench:
    """``cells`` None is a split cache. A token costs one second, so a target is a token count."""
    slot_ids = slots + retained
    runner = FakeRunner(slot_ids, cells, memory or WHOLE, max_batch_tokens)
    account = SplitCells(slot_ids, CONTEXT) if cells is None else UnifiedCells(slot_ids, cells)
    limits = Limits(slots, output_reservation_tokens=reservation, scored_tokens=8)
    host = HostCache(memory or WHOLE, host_bytes)
    table = Slots(slot_ids, account, memory, host, runner.first_position)
    scheduler = Scheduler(limits, table)
    outputs: list[StepOutput] = []

    def send(message: FromEngine) -> None:
        assert isinstance(message, StepOutput)
        outputs.append(message)

    pacer = StepPacer(
        target_seconds=target_seconds, max_batch_tokens=max_batch_tokens, seconds_per_token=1.0
    )
    pacer.observe = lambda num_tokens, seconds: None  # type: ignore[method-assign]
    engine = Generator(
        runner=runner,
        vocabulary=FakeVocabulary(),
        scheduler=scheduler,
        host=host,
        pacer=pacer,
        context_tokens=CONTEXT,
        send=send,
    )
    return Bench(engine, runner, scheduler, outputs=outputs)


def prompt_of(seed: int, length: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(1, 256) for _ in range(length)]


def test_one_request_gets_the_models_text_and_one_end() -> None:
    bench = make_bench()
    bench.submit(1, prompt_of(1, 20), max_tokens=10)
    bench.run()
    assert bench.text(1) == bench.expected_text(1)
    assert bench.ends() == {1: 1}


def test_a_long_prompt_does_not_leave_a_running_stream_out_of_any_step() -> None:
    bench = make_bench(target_seconds=20)
    bench.submit(1, prompt_of(1, 4), max_tokens=50)
    bench.step()
    bench.submit(2, prompt_of(2, 60), max_tokens=2)
    while bench.ends()[2] == 0:
        out = bench.step()
        assert out.stats.left_out == 0
        assert 1 in {delta.id for delta in out.deltas}
        assert out.stats.prefill_tokens <= 20
    assert bench.text(1) == bench.expected_text(1)[: len(bench.text(1))]


def test_each_of_k_waiting_prompts_gets_its_share_within_k_steps() -> None:
    bench = make_bench(slots=5, target_seconds=20)
    bench.submit(1, prompt_of(1, 4), max_tokens=60)
    bench.step()
    waiting = {2, 3, 4, 5}
    for request_id in waiting:
        bench.submit(request_id, prompt_of(request_id, 60), max_tokens=1)
    slots_served: set[int] = set()
    for _ in waiting:
        bench.step()
        slots_served |= {chunk.slot for chunk in bench.runner.batches[-1] if len(chunk.tokens) > 1}
    assert len(slots_served) == len(waiting)


@pytest.mark.parametrize("cells", [None, 256])
def test_a_prefix_shared_by_requests_that_arrive_together_is_computed_once(
    cells: int | None,
) -> None:
    bench = make_bench(cells=cells)
    prefix = prompt_of(0, 40)
    for request_id in range(1, 5):
        bench.submit(request_id, [*prefix, request_id, *prompt_of(request_id, 4)], max_tokens=4)
    bench.run()
    assert bench.prefill_tokens() == 40 + 4 * 5
    for request_id in range(1, 5):
        assert bench.text(request_id) == bench.expected_text(request_id)
    cached = {s.id: s.num_cached_tokens for out in bench.outputs for s in out.started}
    assert cached == {1: 0, 2: 40, 3: 40, 4: 40}


@pytest.mark.parametrize("cells", [None, 256])
def test_a_conversation_that_goes_on_computes_only_what_is_new(cells: int | None) -> None:
    bench = make_bench(cells=cells)
    bench.submit(1, prompt_of(1, 20), max_tokens=10)
    bench.run()
    longer = prompt_of(1, 20) + expected_output(prompt_of(1, 20), 10) + prompt_of(9, 6)
    before = bench.prefill_tokens()
    bench.submit(2, longer, max_tokens=5)
    bench.run()
    # The last token of the answer was sampled, never computed.
    assert bench.prefill_tokens() - before == 1 + 6
    assert bench.text(2) == bench.expected_text(2)


def test_a_request_waits_for_a_prefix_only_as_long_as_someone_computes_it() -> None:
    bench = make_bench(max_batch_tokens=16)
    prefix = prompt_of(0, 40)
    bench.submit(1, prefix, max_tokens=4)
    bench.submit(2, prefix + prompt_of(2, 3), max_tokens=4)
    bench.step()
    assert bench.scheduler.num_waiting == 1
    bench.cancel(1)
    bench.run()
    assert bench.text(2) == bench.expected_text(2)
    assert bench.prefill_tokens() == 43, "what the cancelled request computed is still used"


def test_a_request_behind_one_that_waits_for_a_prefix_is_not_held_up() -> None:
    bench = make_bench(slots=3, max_batch_tokens=16)
    prefix = prompt_of(0, 40)
    bench.submit(1, prefix, max_tokens=4)
    bench.submit(2, prefix + prompt_of(2, 3), max_tokens=4)
    bench.submit(3, prompt_of(3, 5), max_tokens=4)
    started = {s.id for s in bench.step().started}
    assert started == {1, 3}


def test_without_max_tokens_a_request_does_not_reserve_the_whole_context() -> None:
    bench = make_bench(cells=128, reservation=8)
    for request_id in range(1, 5):
        bench.submit(request_id, prompt_of(request_id, 8))
    bench.step()
    assert bench.scheduler.num_running == 4


def test_reservations_of_running_requests_are_subtracted_at_admission() -> None:
    bench = make_bench(cells=64, reservation=30)
    bench.submit(1, prompt_of(1, 10), max_tokens=30)
    bench.submit(2, prompt_of(2, 10), max_tokens=30)
    bench.step()
    assert bench.scheduler.num_running == 1, "10 + 30 cells twice do not fit into 64"
    bench.run()
    assert bench.scheduler.preempted_total == 0
    assert bench.text(2) == bench.expected_text(2)


def test_idle_prefixes_are_evicted_before_anyone_is_preempted() -> None:
    bench = make_bench(slots=2, retained=4, cells=64)
    for request_id in range(1, 5):
        bench.submit(request_id, prompt_of(request_id, 20), max_tokens=2)
        bench.run()
    assert bench.scheduler.evicted_total > 0
    assert bench.scheduler.preempted_total == 0


def test_a_preempted_request_resumes_with_the_same_text_and_the_others_never_notice() -> None:
    bench = make_bench(cells=64, reservation=1)
    for request_id in range(1, 4):
        bench.submit(request_id, prompt_of(request_id, 10))
    bench.run()
    assert bench.scheduler.preempted_total > 0
    for request_id in range(1, 4):
        assert bench.text(request_id) == bench.expected_text(request_id)
    assert bench.ends() == {1: 1, 2: 1, 3: 1}


def test_cells_that_llama_cpp_denies_against_our_count_cost_no_request() -> None:
    bench = make_bench(cells=128)
    for request_id in range(1, 4):
        bench.submit(request_id, prompt_of(request_id, 10), max_tokens=10)
    bench.step()
    bench.runner.refuse_decodes = 2
    bench.run()
    for request_id in range(1, 4):
        assert bench.text(request_id) == bench.expected_text(request_id)


def test_a_cache_without_room_for_one_sequence_is_fatal_not_an_endless_loop() -> None:
    bench = make_bench(cells=64)
    bench.submit(1, prompt_of(1, 10))
    bench.runner.refuse_decodes = 10
    with pytest.raises(EngineFatal):
        bench.step()


def test_a_model_whose_memory_cannot_be_cut_runs_every_request_from_nothing() -> None:
    bench = make_bench(memory=None)
    for request_id in (1, 2):
        bench.submit(request_id, prompt_of(0, 30), max_tokens=5)
    bench.run()
    bench.submit(3, prompt_of(0, 30), max_tokens=5)
    bench.run()
    assert bench.prefill_tokens() == 90
    assert bench.text(3) == bench.expected_text(3)


def test_every_sampler_is_closed_whether_its_request_finished_or_was_cancelled() -> None:
    bench = make_bench(slots=1)
    for request_id in (1, 2, 3):
        bench.submit(request_id, prompt_of(request_id, 5), max_tokens=5)
    bench.step()
    bench.cancel(1)
    bench.cancel(3)
    bench.run()
    assert all(sampler.closed for sampler in bench.runner.samplers)


# --- log-probabilities and constraints -----------------------------------------------------------


def scoring(request_id: int, *, max_tokens: int) -> Submit:
    params = SamplingParams(num_logprobs=1)
    return Submit(
        id=request_id, prompt="", max_tokens=max_tokens, sampling=params, prompt_logprobs=True
    )


def assert_scored_once(bench: Bench, request_id: int, prompt: list[int]) -> None:
    scored = bench.scored(request_id)
    assert [each.token for each in scored] == prompt
    assert [each.logprob for each in scored] == [
        None, *(-float(sum(prompt[:end])) for end in range(1, len(prompt)))
    ]  # fmt: skip


@pytest.mark.parametrize("cells", [None, 256])
def test_every_token_of_a_prompt_is_scored_once_from_what_precedes_it(cells: int | None) -> None:
    bench = make_bench(cells=cells)
    prompts = {n: prompt_of(1, 20) + prompt_of(n, 10 + n) for n in range(1, 6)}
    bench.submit(9, prompts[1])  # the same prefix, for nobody's score
    for number, prompt in prompts.items():
        bench.submit_as(scoring(number, max_tokens=3), prompt)
    bench.run()
    for number, prompt in prompts.items():
        assert_scored_once(bench, number, prompt)
        assert bench.text(number) == bench.expected_text(number)


def test_a_scored_prompt_that_is_preempted_is_not_scored_again() -> None:
    bench = make_bench(cells=80, reservation=1)
    for number in range(1, 4):
        bench.submit_as(scoring(number, max_tokens=25), prompt_of(number, 20))
    bench.run()
    assert bench.scheduler.preempted_total > 0
    for number in range(1, 4):
        assert_scored_once(bench, number, prompt_of(number, 20))


def test_scoring_never_asks_for_more_rows_than_there_are() -> None:
    bench = make_bench(slots=3)
    for number in range(1, 4):
        bench.submit_as(scoring(number, max_tokens=4), prompt_of(number, 30))
    bench.run()
    most = max(sum(chunk.num_outputs for chunk in batch) for batch in bench.runner.batches)
    assert most <= 3 + 8


def test_a_request_for_no_tokens_ends_when_its_prompt_is_computed() -> None:
    bench = make_bench()
    bench.submit_as(scoring(1, max_tokens=0), prompt_of(1, 20))
    bench.run()
    assert_scored_once(bench, 1, prompt_of(1, 20))
    assert bench.text(1) == ""
    assert bench.ends() == {1: 1}


def test_each_new_token_carries_its_log_probability_where_asked_for() -> None:
    bench = make_bench()
    submit = Submit(id=1, prompt="", max_tokens=3, sampling=SamplingParams(num_logprobs=2))
    bench.submit_as(submit, [5, 6])
    bench.submit(2, [7, 8], 3)
    bench.run()
    deltas = [delta for out in bench.outputs for delta in out.deltas if delta.id == 1]
    tokens = [5, 6, *expected_output([5, 6], 3)]
    assert [each.logprob for delta in deltas for each in delta.logprobs] == [
        -float(sum(tokens[:end])) for end in range(2, 5)
    ]
    assert all(len(delta.logprobs[0].likeliest) == 2 for delta in deltas)
    assert not any(delta.logprobs for out in bench.outputs for delta in out.deltas if delta.id == 2)


def test_an_output_that_its_grammar_has_completed_stops_at_once() -> None:
    bench = make_bench()
    bench.submit(1, [5, 6], 50)
    bench.step()
    bench.runner.samplers[0].is_complete = True
    output = bench.step()
    assert [(end.id, end.reason) for end in output.finished] == [(1, "stop")]


@st.composite
def workloads(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Arrivals, cancellations and pauses."""
    action = st.sampled_from(["submit", "submit", "submit", "cancel", "refuse", "step", "step"])
    return draw(st.lists(st.tuples(action, st.integers(0, 2**16)), min_size=5, max_size=60))


@settings(max_examples=150, deadline=None)
@given(
    workload=workloads(),
    cells=st.sampled_from([None, 64, 100, 200]),
    retained=st.integers(0, 3),
    slots=st.integers(1, 4),
    memory=st.sampled_from([None, WHOLE, WINDOW, STATE]),
    host_bytes=st.sampled_from([0, 300, 10_000]),
)
def test_any_traffic_ends_with_every_text_right_and_every_request_ended_once(
    workload: list[tuple[str, int]],
    cells: int | None,
    retained: int,
    slots: int,
    memory: Memory | None,
    host_bytes: int,
) -> None:
    bench = make_bench(
        slots=slots,
        retained=retained,
        cells=cells,
        reservation=4,
        memory=memory,
        host_bytes=host_bytes,
        max_batch_tokens=16,
    )
    request_id = 0
    for action, number in workload:
        draw = random.Random(number)
        if action == "submit":
            request_id += 1
            prompt = prompt_of(number % 3, draw.randrange(1, 50))
            prompt = prompt[: draw.randrange(1, 60)] + prompt_of(number, draw.randrange(0, 10))
            bench.submit(request_id, prompt, draw.choice([None, 1, 5, 20]))
        elif action == "cancel" and bench.prompts.keys() - bench.ends().keys():
            bench.cancel(draw.choice(sorted(bench.prompts.keys() - bench.ends().keys())))
        elif action == "refuse":
            bench.runner.refuse_restores = 1
        elif not bench.scheduler.is_idle:
            bench.step()
        assert bench.scheduler.cells_used == bench.runner.cells_used
    bench.run()
    assert bench.ends() == dict.fromkeys(bench.prompts, 1)
    for each in bench.prompts:
        assert bench.text(each) == bench.expected_text(each)
    assert all(out.stats.left_out == 0 for out in bench.outputs)
    assert all(sampler.closed for sampler in bench.runner.samplers)
