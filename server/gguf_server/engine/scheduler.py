"""Who runs next: admission, prefix reuse, step budget, eviction, preemption. Pure decisions.

A step decodes one token of every running stream, then spends the prefill budget on prompts in
turn. What must happen to the KV cache is returned as operations; nothing is done here.
"""

from collections import deque
from dataclasses import dataclass, field

from gguf_server.engine.host import HostCache
from gguf_server.engine.operations import Operation, Save
from gguf_server.engine.runner import Chunk
from gguf_server.engine.sequence import Sequence
from gguf_server.engine.slots import MIN_SHARED_TOKENS, Seat, Slots


@dataclass(frozen=True, slots=True)
class Limits:
    """``slots`` sequences run at once; there may be more slots than that, to keep idle prefixes.

    ``scored_tokens`` rows of logits a step, beyond one for each slot, are for scoring prompts.
    """

    slots: int
    output_reservation_tokens: int
    scored_tokens: int


@dataclass(slots=True)
class Work:
    """One sequence's part of a step."""

    sequence: Sequence
    chunk: Chunk


@dataclass(slots=True)
class StepPlan:
    """What to do in one step: first the operations in order, then one batch.

    ``rows`` are where the logits of the chunks that ask for any begin, known once it is laid out.
    """

    operations: list[Operation]
    work: list[Work] = field(default_factory=list)
    decode_tokens: int = 0
    prefill_tokens: int = 0
    rows: list[int] = field(default_factory=list)


class Scheduler:
    """Owns the waiting and the running sequences."""

    def __init__(self, limits: Limits, slots: Slots) -> None:
        self.preempted_total = 0
        self._limits = limits
        self._slots = slots
        self._cells = slots.cells
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # oldest first
        self._prefilling: deque[Sequence] = deque()  # whose turn comes next, first
        self._may_admit = False  # has anything changed since admission was last refused

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._running

    @property
    def cells_used(self) -> int:
        return self._cells.used

    @property
    def host(self) -> HostCache:
        return self._slots.host

    @property
    def evicted_total(self) -> int:
        return self._slots.evicted_total

    def streams(self) -> list[Sequence]:
        """The running sequences whose clients wait for the next token."""
        return [sequence for sequence in self._running if sequence.is_decoding]

    # --- events ------------------------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        """Queue a new sequence behind the others."""
        self._waiting.append(sequence)
        self._may_admit = True

    def cancel(self, sequence_id: int) -> Sequence | None:
        """Take a sequence out, wherever it is; None if it is not here."""
        for sequence in self._running:
            if sequence.id == sequence_id:
                self.finish(sequence)
                return sequence
        for sequence in self._waiting:
            if sequence.id == sequence_id:
                self._waiting.remove(sequence)
                self._may_admit = True  # it may have been the one that found no room
                return sequence
        return None

    def finish(self, sequence: Sequence) -> None:
        """End a running sequence; what it computed stays as an idle prefix."""
        slot = self._unseat(sequence)
        self._slots.leave(slot, sequence.tokens[: sequence.num_computed])

    def lose(self, slot: int) -> None:
        """An operation on this slot failed and left it empty: its sequence starts over."""
        self._cells.truncate(slot, 0)
        for sequence in self._running:
            if sequence.slot == slot:
                sequence.num_computed = 0
                if sequence not in self._prefilling:
                    self._prefilling.append(sequence)

    def relieve(self) -> bool:
        """Free some cells at the least cost; False when one sequence alone has them all."""
        if self._slots.any_idle:
            self._slots.evict()
            return True
        if len(self._running) > 1:
            self._preempt()
            return True
        return False

    # --- one step ----------------------------------------------------------------------------

    def admit(self) -> list[Sequence]:
        """Seat waiting sequences in order; returns those that start for the first time.

        One that waits for a prefix lets the others pass; one that finds no room does not.
        """
        started: list[Sequence] = []
        passed: list[Sequence] = []
        while self._may_admit and self._waiting and len(self._running) < self._limits.slots:
            sequence = self._waiting.popleft()
            seat = self._find_seat(sequence)
            if seat is None:
                passed.append(sequence)
            elif not self._has_room(sequence, seat):
                self._waiting.appendleft(sequence)
                break
            else:
                self._take_seat(sequence, seat)
                if not sequence.started:
                    sequence.started = True
                    started.append(sequence)
        self._waiting.extendleft(reversed(passed))
        self._may_admit = False
        return started

    def plan(self, prefill_budget: int) -> StepPlan:
        """The next batch. Nothing counts as computed before ``advance``."""
        self._make_room(prefill_budget)
        plan = StepPlan(operations=self._slots.take_operations())
        for sequence in self.streams():
            plan.work.append(_work(sequence, 1))
        plan.decode_tokens = len(plan.work)
        self._plan_prefill(plan, min(prefill_budget, self._cells.free - plan.decode_tokens))
        # A split cache computes adjacent slots together only when they come in order.
        plan.work.sort(key=lambda work: work.chunk.slot)
        return plan

    def advance(self, plan: StepPlan) -> list[Save]:
        """The batch of ``plan`` has been computed; returns what should be saved right away."""
        for work in plan.work:
            num_tokens = len(work.chunk.tokens)
            work.sequence.num_computed += num_tokens
            self._cells.extend(work.chunk.slot, num_tokens)
        if not plan.prefill_tokens:
            return []
        self._rotate_prefilling({work.sequence.id for work in plan.work})
        self._may_admit = True
        saves = [self._checkpoint(w.sequence) for w in plan.work if w.sequence.at_checkpoint]
        return [save for save in saves if save is not None]

    # --- admission ---------------------------------------------------------------------------

    def _find_seat(self, sequence: Sequence) -> Seat | None:
        """The best slot for it; None while a longer part of its prompt is being computed."""
        offer = self._slots.find(sequence.tokens, sequence.num_reusable_tokens)
        seat = offer.seat
        takes_checkpoints = self._slots.takes_checkpoints
        if offer.promised > seat.num_tokens and offer.promised >= MIN_SHARED_TOKENS:
            promiser = self._in_slot(offer.promiser)
            if not promiser.is_prefilled:
                if takes_checkpoints:
                    promiser.add_checkpoint(offer.promised)
                return None
        sequence.checkpoints = []
        if takes_checkpoints:
            # Where others began differently, and before the token whose logits everyone needs.
            for num_tokens in (offer.seen, len(sequence.tokens) - 1):
                if num_tokens - seat.num_tokens >= MIN_SHARED_TOKENS:
                    sequence.add_checkpoint(num_tokens)
        return seat

    def _in_slot(self, slot: int) -> Sequence:
        return next(sequence for sequence in self._running if sequence.slot == slot)

    def _has_room(self, sequence: Sequence, seat: Seat) -> bool:
        reservation = len(sequence.tokens) + self._limits.output_reservation_tokens
        sequence.reserved_tokens = min(reservation, sequence.max_total_tokens)
        needed = sequence.reserved_tokens
        if isinstance(seat.source, int):
            needed -= self._cells.pinned_prefix(seat.source, seat.num_tokens)
        promised = sum(running.outstanding_tokens for running in self._running)
        return needed <= self._cells.unpinned - promised

    def _take_seat(self, sequence: Sequence, seat: Seat) -> None:
        self._slots.take(seat, sequence.tokens)
        sequence.slot = seat.slot
        sequence.num_computed = seat.num_tokens
        self._running.append(sequence)
        if not sequence.is_decoding:
            self._prefilling.append(sequence)

    # --- batch -------------------------------------------------------------------------------

    def _plan_prefill(self, plan: StepPlan, budget: int) -> None:
        scored_tokens = self._limits.scored_tokens
        for sequence in self._prefilling:
            num_tokens = min(budget - plan.prefill_tokens, sequence.num_until_checkpoint)
            if num_tokens <= 0:
                break
            if sequence.is_scoring:
                num_tokens = min(num_tokens, 1 + scored_tokens)
                scored_tokens -= num_tokens - 1
            plan.work.append(_work(sequence, num_tokens))
            plan.prefill_tokens += num_tokens

    def _rotate_prefilling(self, served: set[int]) -> None:
        """Who had a turn goes to the back, who is through leaves."""
        turns = [s for s in self._prefilling if s.id not in served]
        turns += [s for s in self._prefilling if s.id in served and not s.is_prefilled]
        self._prefilling = deque(turns)

    def _checkpoint(self, sequence: Sequence) -> Save | None:
        sequence.checkpoints.pop(0)
        tokens = sequence.tokens[: sequence.num_computed]
        return self._slots.checkpoint(sequence.slot, tokens)

    # --- cells -------------------------------------------------------------------------------

    def _make_room(self, prefill_budget: int) -> None:
        """A cell for every stream, whatever it takes; for prompts, what idle prefixes hold."""
        while self._cells.free < max(1, len(self.streams())):
            if not self.relieve():
                break
        uncomputed = sum(sequence.num_uncomputed for sequence in self._prefilling)
        wanted = len(self.streams()) + min(prefill_budget, uncomputed)
        while self._cells.free < wanted and self._slots.any_idle:
            self._slots.evict()

    def _preempt(self) -> None:
        """Take the youngest sequence's slot back; it waits first in line and loses no text."""
        sequence = self._running[-1]
        self._slots.give_up(self._unseat(sequence))
        sequence.num_computed = 0
        self._waiting.appendleft(sequence)
        self.preempted_total += 1

    def _unseat(self, sequence: Sequence) -> int:
        slot, sequence.slot = sequence.slot, -1
        self._running.remove(sequence)
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)
        self._may_admit = True
        return slot


def _work(sequence: Sequence, num_tokens: int) -> Work:
    start = sequence.num_computed
    end = start + num_tokens
    tokens = sequence.tokens[start:end]
    num_outputs = num_tokens if sequence.is_scoring else int(end == len(sequence.tokens))
    return Work(sequence, Chunk(sequence.slot, start, tokens, num_outputs))
