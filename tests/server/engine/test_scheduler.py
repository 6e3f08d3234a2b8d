"""The scheduler's decisions one by one. What they add up to is tested in test_loop."""

from dataclasses import dataclass

import pytest

from gguf_server.engine.cells import Cells, SplitCells, UnifiedCells
from gguf_server.engine.host import HostCache
from gguf_server.engine.memory import Memory
from gguf_server.engine.operations import CopyPrefix, Operation, Restore, Save, Truncate
from gguf_server.engine.scheduler import Limits, Scheduler, StepPlan
from gguf_server.engine.sequence import Sequence
from gguf_server.engine.slots import MIN_SHARED_TOKENS, Slots
from tests.fakes import FakeSampler, FakeState

CONTEXT = 200
ANY_BUDGET = 1000


def tokens(start: int, count: int) -> list[int]:
    """Tokens that no other ``start`` shares, as long as starts are thousands apart."""
    return list(range(start, start + count))


COMMON = tokens(1000, 40)
WHOLE = Memory()
STATE = Memory(exact=True)


@dataclass
class Desk:
    """A scheduler and what a loop does to it, without a model."""

    scheduler: Scheduler
    host: HostCache
    first_positions: list[int]
    last_id: int = 0

    def submit(self, prompt: list[int], max_tokens: int = 100) -> Sequence:
        self.last_id += 1
        sequence = Sequence(
            id=self.last_id,
            tokens=list(prompt),
            num_prompt_tokens=len(prompt),
            max_total_tokens=min(CONTEXT, len(prompt) + max_tokens),
            sampler=FakeSampler(),
        )
        self.scheduler.submit(sequence)
        return sequence

    def step(self, budget: int = ANY_BUDGET) -> StepPlan:
        """Admit, compute, and give each that asks for output a token that nobody else has."""
        self.scheduler.admit()
        plan = self.scheduler.plan(budget)
        for operation in [*plan.operations, *self.scheduler.advance(plan)]:
            if isinstance(operation, Save):
                self.host.put(operation.tokens, FakeState(operation.tokens))
        for work in plan.work:
            if work.chunk.num_outputs:
                work.sequence.append(100_000 + len(work.sequence.tokens), is_end=False)
        return plan

    def run(self, prompt: list[int]) -> tuple[Sequence, list[Operation]]:
        """Seat one more sequence and compute its prompt."""
        sequence = self.submit(prompt)
        operations = self.step().operations
        assert sequence.slot >= 0
        return sequence, operations

    def leave_idle(self, prompt: list[int]) -> int:
        """Compute a prompt and end; the slot that keeps exactly this prompt."""
        sequence, _ = self.run(prompt)
        slot = sequence.slot
        self.scheduler.finish(sequence)
        return slot


def make_desk(
    *,
    slots: int = 4,
    slot_ids: int = 4,
    num_cells: int | None = None,
    memory: Memory | None = WHOLE,
    host_bytes: int = 0,
    reservation: int = 10,
) -> Desk:
    """``num_cells`` None is a split cache."""
    cells: Cells = (
        SplitCells(slot_ids, CONTEXT) if num_cells is None else UnifiedCells(slot_ids, num_cells)
    )
    limits = Limits(slots, output_reservation_tokens=reservation, scored_tokens=8)
    host = HostCache(memory or WHOLE, host_bytes)
    first_positions = [0] * slot_ids
    table = Slots(slot_ids, cells, memory, host, first_positions.__getitem__)
    return Desk(Scheduler(limits, table), host, first_positions)


# --- the choice of a seat ------------------------------------------------------------------------


def test_the_first_sequence_takes_the_lowest_slot_and_computes_everything() -> None:
    sequence, operations = make_desk().run(COMMON)
    assert (sequence.slot, sequence.num_computed, operations) == (0, 40, [])


def test_a_prompt_that_continues_at_least_half_of_an_idle_slot_takes_it_over() -> None:
    desk = make_desk()
    slot = desk.leave_idle(COMMON + tokens(2000, 40))
    desk.submit(COMMON + tokens(3000, 5))
    plan = desk.step()
    assert plan.operations == [Truncate(slot, 40)]
    assert [work.chunk.slot for work in plan.work] == [slot]
    assert plan.prefill_tokens == 5
    assert desk.scheduler.evicted_total == 0


def test_a_prompt_that_continues_less_than_half_of_an_idle_slot_copies_to_the_lowest_free() -> None:
    desk = make_desk()
    slot = desk.leave_idle(COMMON + tokens(2000, 41))
    sequence, operations = desk.run(COMMON + tokens(3000, 5))
    assert sequence.slot == 1
    assert operations == [CopyPrefix(slot, 1, 40)]


def test_a_conversation_that_goes_on_takes_its_slot_over_without_cutting() -> None:
    desk = make_desk()
    slot = desk.leave_idle(COMMON)
    sequence, operations = desk.run(COMMON + tokens(2000, 30))
    assert (sequence.slot, operations) == (slot, [])


def test_the_same_prompt_again_computes_its_last_token_again() -> None:
    desk = make_desk()
    slot = desk.leave_idle(COMMON)
    desk.submit(COMMON)
    plan = desk.step()
    assert plan.operations == [Truncate(slot, 39)]
    assert plan.prefill_tokens == 1
    assert plan.work[0].chunk.num_outputs == 1


def test_a_running_sequence_lends_its_prefix_by_copy() -> None:
    desk = make_desk()
    lender, _ = desk.run(COMMON + tokens(2000, 10))
    borrower, operations = desk.run(COMMON + tokens(3000, 10))
    assert operations == [CopyPrefix(lender.slot, borrower.slot, 40)]
    assert lender.slot != borrower.slot


def test_the_longest_prefix_wins_whoever_holds_it() -> None:
    desk = make_desk()
    desk.leave_idle(COMMON[:30])
    lender, _ = desk.run(COMMON + tokens(2000, 1))
    borrower, operations = desk.run(COMMON + tokens(3000, 10))
    assert operations == [CopyPrefix(lender.slot, borrower.slot, 40)]


def test_an_idle_holder_is_taken_over_rather_than_copied_from_a_running_one() -> None:
    desk = make_desk()
    runner = desk.submit(COMMON + tokens(2000, 1))
    desk.step()
    idle = desk.leave_idle(COMMON + tokens(3000, 1))
    sequence, _ = desk.run(COMMON + tokens(4000, 1))
    assert sequence.slot == idle != runner.slot


def test_with_no_free_slot_the_idle_one_used_longest_ago_makes_way() -> None:
    desk = make_desk(slots=3, slot_ids=3)
    kept = [desk.leave_idle(tokens(start, 20)) for start in (1000, 2000, 3000)]
    assert kept == [0, 1, 2]
    again, _ = desk.run([*tokens(1000, 20), 7])  # uses slot 0, so 1 is now the oldest
    desk.scheduler.finish(again)
    sequence, operations = desk.run(tokens(9000, 20))
    assert sequence.slot == 1
    assert operations == [Truncate(1, 0)]


def test_a_copy_over_an_idle_prefix_counts_as_an_eviction() -> None:
    desk = make_desk(slots=3, slot_ids=3)
    lender, _ = desk.run(COMMON + tokens(2000, 1))
    victim = desk.leave_idle(tokens(3000, 20))
    desk.leave_idle(tokens(4000, 20))
    sequence, operations = desk.run(COMMON + tokens(5000, 1))
    assert sequence.slot == victim
    assert operations == [CopyPrefix(lender.slot, victim, 40)]
    assert desk.scheduler.evicted_total == 1


def test_an_idle_victim_that_is_the_lender_itself_is_cut_instead_of_copied() -> None:
    desk = make_desk(slots=2, slot_ids=2)
    lender = desk.leave_idle(COMMON + tokens(2000, 100))
    desk.leave_idle(tokens(3000, 20))
    sequence, operations = desk.run(COMMON + tokens(4000, 1))
    assert sequence.slot == lender
    assert operations == [Truncate(lender, 40)]


@pytest.mark.parametrize(
    ("shared", "copied"), [(MIN_SHARED_TOKENS - 1, False), (MIN_SHARED_TOKENS, True)]
)
def test_a_prefix_is_copied_only_from_a_certain_length(shared: int, copied: bool) -> None:
    desk = make_desk()
    lender, _ = desk.run(COMMON[:shared] + tokens(2000, 50))
    sequence, operations = desk.run(COMMON[:shared] + tokens(3000, 50))
    wanted: list[Operation] = [CopyPrefix(lender.slot, 1, shared)] if copied else []
    assert (sequence.slot, operations) == (1, wanted)


def test_without_reuse_a_slot_is_emptied_when_its_sequence_ends() -> None:
    desk = make_desk(memory=None)
    desk.leave_idle(COMMON)
    sequence, operations = desk.run(COMMON)
    assert (sequence.slot, operations) == (0, [Truncate(0, 0)])
    assert desk.scheduler.cells_used == 40


# --- waiting for a prefix ------------------------------------------------------------------------


def test_a_request_waits_while_a_longer_part_of_its_prompt_is_being_computed() -> None:
    desk = make_desk()
    first = desk.submit(COMMON + tokens(2000, 1))
    second = desk.submit(COMMON + tokens(3000, 1))
    desk.step(budget=20)
    assert (first.num_computed, second.slot) == (20, -1)
    desk.step(budget=20)
    assert (first.num_computed, second.slot) == (40, -1)
    plan = desk.step(budget=20)
    assert plan.operations == [CopyPrefix(first.slot, second.slot, 40)]


def test_a_request_does_not_wait_for_a_prefix_that_is_too_short_to_copy() -> None:
    desk = make_desk()
    short = COMMON[: MIN_SHARED_TOKENS - 1]
    desk.submit(short + tokens(2000, 50))
    second = desk.submit(short + tokens(3000, 50))
    desk.step(budget=5)
    assert second.slot >= 0


def test_those_that_wait_for_a_prefix_let_the_others_pass_and_keep_their_order() -> None:
    desk = make_desk(slots=2, slot_ids=2)
    first = desk.submit(COMMON)
    waiting = [desk.submit(COMMON + tokens(start, 1)) for start in (2000, 3000)]
    other = desk.submit(tokens(9000, 5))
    assert desk.scheduler.admit() == [first, other]
    assert list(desk.scheduler._waiting) == waiting


def test_a_prefix_that_will_not_come_any_more_is_not_waited_for() -> None:
    desk = make_desk()
    first = desk.submit(COMMON + tokens(2000, 1))
    second = desk.submit(COMMON + tokens(3000, 1))
    desk.step(budget=20)
    assert desk.scheduler.cancel(first.id) is first
    desk.step(budget=20)
    assert second.slot == 0, "what was computed of it is taken over"
    assert second.num_computed == 40


# --- room ----------------------------------------------------------------------------------------


def test_a_request_that_finds_no_room_is_not_passed_by_a_smaller_one() -> None:
    desk = make_desk(num_cells=100, reservation=10)
    desk.submit(tokens(1000, 50))
    big = desk.submit(tokens(2000, 50))
    small = desk.submit(tokens(3000, 5))
    desk.step()
    assert (big.slot, small.slot) == (-1, -1)


def test_one_that_only_wanted_more_room_no_longer_holds_up_the_others_once_it_is_cancelled() -> (
    None
):
    desk = make_desk(num_cells=100, reservation=10)
    desk.submit(tokens(1000, 50))
    big = desk.submit(tokens(2000, 50))
    small = desk.submit(tokens(3000, 5))
    desk.step()
    desk.step()  # decodes only: nothing has changed for those who wait
    desk.scheduler.cancel(big.id)
    assert desk.scheduler.admit() == [small]


def test_shared_cells_that_are_in_use_anyway_are_not_asked_for_twice() -> None:
    desk = make_desk(num_cells=100, reservation=10)
    desk.run([*COMMON, 1])
    second, _ = desk.run([*COMMON, 2])
    assert second.slot >= 0, "51 + 11 cells, of which 40 are shared"
    third = desk.submit([*tokens(2000, 40), 3])
    desk.step()
    assert third.slot == -1


def test_a_reservation_is_never_more_than_the_request_may_use() -> None:
    desk = make_desk(num_cells=100, reservation=50)
    sequences = [desk.submit(tokens(start, 20), max_tokens=5) for start in (1000, 2000, 3000, 4000)]
    desk.step()
    assert all(sequence.slot >= 0 for sequence in sequences)


def test_the_youngest_is_preempted_and_waits_first_in_line() -> None:
    desk = make_desk(slots=2, slot_ids=2, num_cells=64, reservation=1)
    old = desk.submit(tokens(1000, 30))
    young = desk.submit(tokens(2000, 30))
    later = desk.submit(tokens(3000, 30))
    while not desk.scheduler.preempted_total:
        desk.step()
    assert old.slot >= 0
    assert (young.slot, young.num_computed) == (-1, 0)
    assert list(desk.scheduler._waiting) == [young, later]
    assert young.num_output_tokens > 0, "it loses no text"


def test_idle_prefixes_go_first_the_oldest_at_once_and_no_more_than_needed() -> None:
    desk = make_desk(num_cells=64)
    oldest, younger = desk.leave_idle(tokens(1000, 20)), desk.leave_idle(tokens(2000, 20))
    sequence, operations = desk.run(tokens(3000, 30))
    assert operations == [Truncate(oldest, 0)]
    assert desk.scheduler.evicted_total == 1
    assert desk.scheduler.cells_used == 50
    assert sequence.slot not in (oldest, younger)


def test_a_single_sequence_with_the_whole_cache_cannot_be_relieved() -> None:
    desk = make_desk(num_cells=64)
    desk.run(tokens(1000, 20))
    assert not desk.scheduler.relieve()


# --- the batch -----------------------------------------------------------------------------------


def test_every_stream_comes_first_and_the_budget_is_for_prompts() -> None:
    desk = make_desk()
    for start in (1000, 2000):
        desk.run(tokens(start, 5))
    desk.submit(tokens(3000, 50))
    plan = desk.step(budget=16)
    assert (plan.decode_tokens, plan.prefill_tokens) == (2, 16)


def test_a_prompt_that_had_its_turn_goes_behind_the_others() -> None:
    desk = make_desk()
    prompts = [desk.submit(tokens(start, 50)) for start in (1000, 2000, 3000)]
    turns = [desk.step(budget=16).work[0].sequence for _ in range(4)]
    assert turns == [*prompts, prompts[0]]


def test_what_one_prompt_leaves_of_the_budget_goes_to_the_next() -> None:
    desk = make_desk()
    first, second = desk.submit(tokens(1000, 10)), desk.submit(tokens(2000, 50))
    plan = desk.step(budget=16)
    assert {work.sequence.id: len(work.chunk.tokens) for work in plan.work} == {
        first.id: 10,
        second.id: 6,
    }
    assert [work.chunk.num_outputs for work in plan.work] == [1, 0]


def test_a_batch_lists_slots_in_ascending_order_whatever_the_order_of_arrival() -> None:
    desk = make_desk()
    sequences = [desk.run(tokens(start, 5))[0] for start in (1000, 2000, 3000)]
    desk.scheduler.cancel(sequences[0].id)
    desk.run(tokens(4000, 5))
    desk.scheduler.cancel(sequences[1].id)
    desk.submit(tokens(5000, 5))
    slots = [work.chunk.slot for work in desk.step().work]
    assert slots == sorted(slots)
    assert len(slots) == 3


def test_no_more_sequences_run_than_there_are_slots_though_more_prefixes_are_kept() -> None:
    desk = make_desk(slots=2, slot_ids=4)
    for start in (1000, 2000, 3000):
        desk.submit(tokens(start, 5))
    desk.step()
    assert (desk.scheduler.num_running, desk.scheduler.num_waiting) == (2, 1)


def test_a_sequence_is_reported_as_started_once_even_if_it_is_preempted() -> None:
    desk = make_desk(slots=2, slot_ids=2, num_cells=64, reservation=1)
    old, young = desk.submit(tokens(1000, 30)), desk.submit(tokens(2000, 30))
    started = desk.scheduler.admit()
    while not desk.scheduler.preempted_total:
        desk.step()
    desk.scheduler.cancel(old.id)
    assert desk.scheduler.admit() == []
    assert young.slot >= 0
    assert started == [old, young]


def test_an_unknown_request_cannot_be_cancelled() -> None:
    desk = make_desk()
    assert desk.scheduler.cancel(7) is None


def test_a_waiting_request_can_be_cancelled() -> None:
    desk = make_desk()
    sequence = desk.submit(COMMON)
    assert desk.scheduler.cancel(sequence.id) is sequence
    assert desk.scheduler.is_idle


# --- windows -------------------------------------------------------------------------------------


def test_a_prefix_whose_window_is_gone_is_computed_again() -> None:
    desk = make_desk(memory=Memory(window_tokens=10))
    slot = desk.leave_idle(COMMON + tokens(2000, 20))
    for first, num_computed in ((31, 40), (32, 0)):
        desk.first_positions[slot] = first
        offer = desk.scheduler._slots.find([*COMMON, 7], 40)
        assert offer.seat.num_tokens == num_computed, "the next token looks back to position 31"


def test_a_request_does_not_wait_for_what_has_been_computed_and_is_gone() -> None:
    desk = make_desk(memory=Memory(window_tokens=10))
    lender, _ = desk.run(COMMON + tokens(2000, 50))
    desk.first_positions[lender.slot] = 60
    sequence, operations = desk.run([*COMMON, 7])
    assert (sequence.slot, operations) == (1, [])


# --- states that cannot be cut -------------------------------------------------------------------


def chunk_lengths(desk: Desk, sequence: Sequence, steps: int) -> list[int]:
    lengths = []
    for _ in range(steps):
        works = desk.step().work
        lengths += [len(w.chunk.tokens) for w in works if w.sequence is sequence]
    return lengths


def test_a_state_is_saved_before_the_last_token_of_a_prompt() -> None:
    desk = make_desk(memory=STATE, host_bytes=10_000)
    first = desk.submit(COMMON)
    assert chunk_lengths(desk, first, 2) == [39, 1]
    assert desk.host.covers(COMMON[:39])
    again, operations = desk.run(COMMON)
    assert [(type(op), op.num_tokens) for op in operations if isinstance(op, Restore)] == [
        (Restore, 39)
    ]
    assert again.num_computed == 40


def test_where_a_prompt_leaves_what_others_began_with_a_state_is_saved_for_the_next() -> None:
    desk = make_desk(memory=STATE, host_bytes=10_000)
    desk.leave_idle(COMMON + tokens(2000, 30))
    second = desk.submit(COMMON + tokens(3000, 30))
    assert chunk_lengths(desk, second, 3) == [40, 29, 1]
    third = desk.submit(COMMON + tokens(4000, 30))
    assert chunk_lengths(desk, third, 1) == [29]
    assert third.num_computed == 69


def test_a_request_waits_while_another_computes_up_to_where_they_part() -> None:
    desk = make_desk(memory=STATE, host_bytes=10_000)
    first = desk.submit(COMMON + tokens(2000, 30))
    desk.step(budget=20)
    second = desk.submit(COMMON + tokens(3000, 30))
    desk.step(budget=30)
    assert (first.num_computed, second.slot) == (40, -1)
    desk.step(budget=30)
    assert second.slot >= 0
    assert desk.scheduler.num_running == 2
    assert first.num_computed + second.num_computed == 40 + 40 + 30


def test_a_request_does_not_wait_for_a_stream_to_pass_where_they_part() -> None:
    desk = make_desk(memory=STATE, host_bytes=10_000)
    stream = desk.submit(COMMON)
    desk.step()
    desk.step()
    desk.scheduler._preempt()
    assert stream.num_output_tokens == 1
    desk.host.put(stream.tokens[:40], FakeState(stream.tokens[:40]))
    second = desk.submit([*stream.tokens, 7])
    assert desk.scheduler.admit() == [second]
    assert stream.is_decoding


def test_an_idle_state_is_taken_over_whole_and_never_copied_or_cut() -> None:
    desk = make_desk(memory=STATE)
    slot = desk.leave_idle(COMMON)
    longer, operations = desk.run(COMMON + tokens(2000, 5))
    assert (longer.slot, operations) == (slot, [])
    other, operations = desk.run(COMMON + tokens(3000, 5))
    assert (other.slot, operations) == (1, [])


def test_without_host_memory_nobody_waits_for_a_state_that_will_not_be_saved() -> None:
    desk = make_desk(memory=STATE)
    desk.submit(COMMON + tokens(2000, 30))
    desk.step(budget=20)
    second = desk.submit(COMMON + tokens(3000, 30))
    desk.step(budget=20)
    assert second.slot >= 0


# --- host memory ---------------------------------------------------------------------------------


def test_an_evicted_prefix_is_saved_and_comes_back() -> None:
    desk = make_desk(slots=1, slot_ids=1, host_bytes=10_000)
    desk.leave_idle(COMMON)
    _, operations = desk.run(tokens(2000, 20))
    assert operations == [Save(0, COMMON), Truncate(0, 0)]
    desk.scheduler.cancel(2)
    back, operations = desk.run([*COMMON, 7])
    assert [type(operation) for operation in operations] == [Save, Restore]
    assert back.num_computed == 41


def test_what_another_slot_or_the_host_has_is_not_saved() -> None:
    desk = make_desk(slots=2, slot_ids=2, host_bytes=10_000)
    desk.leave_idle(COMMON[:20])
    desk.run(COMMON + tokens(2000, 1))
    _, operations = desk.run(tokens(3000, 20))
    assert not any(isinstance(operation, Save) for operation in operations)


@pytest.mark.parametrize(("num_own_tokens", "is_saved"), [(4, False), (20, True)])
def test_a_prefix_is_saved_if_enough_of_it_would_be_lost(
    num_own_tokens: int, is_saved: bool
) -> None:
    desk = make_desk(slots=2, slot_ids=2, host_bytes=10_000)
    desk.host.put(COMMON, FakeState(COMMON))
    desk.leave_idle(COMMON + tokens(2000, num_own_tokens))
    desk.run(tokens(3000, 20))
    _, operations = desk.run(tokens(4000, 20))
    assert any(isinstance(operation, Save) for operation in operations) == is_saved


def test_a_short_prefix_is_not_worth_saving() -> None:
    desk = make_desk(slots=1, slot_ids=1, host_bytes=10_000)
    desk.leave_idle(COMMON[: MIN_SHARED_TOKENS - 1])
    _, operations = desk.run(tokens(3000, 20))
    assert operations == [Truncate(0, 0)]


def test_room_is_made_for_the_whole_of_what_comes_back() -> None:
    desk = make_desk(num_cells=100, slots=4, host_bytes=10_000)
    desk.host.put(tokens(5000, 60), FakeState(tokens(5000, 60)))
    desk.leave_idle(tokens(2000, 60))
    sequence, operations = desk.run([*tokens(5000, 20), 7])
    assert [type(operation) for operation in operations] == [Save, Truncate, Restore]
    assert sequence.num_computed == 21


def test_a_sequence_whose_slot_was_lost_starts_over() -> None:
    desk = make_desk()
    desk.leave_idle(COMMON)
    sequence = desk.submit(COMMON + tokens(2000, 10))
    desk.scheduler.admit()
    desk.scheduler.lose(sequence.slot)
    assert desk.scheduler.plan(ANY_BUDGET).prefill_tokens == 50
