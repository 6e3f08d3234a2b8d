"""A step of generation: schedule, compute, sample, tell. Knows no llama.cpp and no sockets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gguf_server.engine.host import HostCache
from gguf_server.engine.operations import CopyPrefix, Operation, Restore, Save, Truncate
from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import EngineFatal, KvCacheFull, Runner, Vocabulary
from gguf_server.engine.scheduler import Scheduler, StepPlan
from gguf_server.engine.sequence import Sequence
from gguf_server.engine.text import TextStream
from gguf_server.errors import InternalError
from gguf_server.wire.messages import (
    Cancel,
    Failed,
    Finished,
    FromEngine,
    Started,
    StepOutput,
    StepStats,
    Submit,
    TextDelta,
)


@dataclass(frozen=True, slots=True)
class NewSequence:
    """An accepted request on its way to the scheduler."""

    submit: Submit
    tokens: list[int]


@dataclass(slots=True)
class _Clock:
    """Seconds of one step by phase."""

    phases: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now


@dataclass(slots=True)
class _Outcome:
    """What one step has to tell."""

    started: list[Started] = field(default_factory=list)
    deltas: list[TextDelta] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class Generator:
    """Runs all sequences together, a step at a time. Implements ``loop.Work``."""

    def __init__(
        self,
        *,
        runner: Runner,
        vocabulary: Vocabulary,
        scheduler: Scheduler,
        host: HostCache,
        pacer: StepPacer,
        context_tokens: int,
        send: Callable[[FromEngine], None],
    ) -> None:
        self._runner = runner
        self._vocabulary = vocabulary
        self._scheduler = scheduler
        self._host = host
        self._pacer = pacer
        self._context_tokens = context_tokens
        self._send = send
        self._step = 0
        self._outcome = _Outcome()

    @property
    def is_idle(self) -> bool:
        return self._scheduler.is_idle

    def handle(self, command: NewSequence | Cancel) -> None:
        """One command, between two steps."""
        match command:
            case NewSequence():
                self._add(command)
            case Cancel():
                sequence = self._scheduler.cancel(command.id)
                if sequence is not None:
                    sequence.sampler.close()  # who cancelled knows: no message

    def step(self) -> None:
        """One batch for all running sequences, and one message about it."""
        clock = _Clock()
        streams = self._scheduler.streams()
        plan = self._compute(clock)
        for save in self._scheduler.advance(plan):
            self._save(save)
        sampled = self._sample(plan, clock)
        for sequence, token in sampled:
            self._extend(sequence, token)
        clock.lap("text")
        served = {sequence.id for sequence, _ in sampled}
        left_out = sum(s.slot >= 0 and s.id not in served for s in streams)
        self._report(plan, clock, left_out)

    # --- the parts of a step -----------------------------------------------------------------

    def _compute(self, clock: _Clock) -> StepPlan:
        """Schedule and decode; when llama.cpp finds no cells, free some and try again."""
        started = self._scheduler.admit()
        plan = self._plan()
        self._outcome.started += [Started(s.id, s.num_computed) for s in started]
        while not self._decode(plan, clock):
            if not self._scheduler.relieve():
                msg = "the KV cache has no room for a single sequence"
                raise EngineFatal(msg)
            plan = self._plan()
        if plan.prefill_tokens:
            num_tokens = plan.prefill_tokens + plan.decode_tokens
            self._pacer.observe(num_tokens, clock.phases["decode"])
        return plan

    def _plan(self) -> StepPlan:
        """The next batch, with everything done that it needs.

        Who loses a prefix on the way computes it: that takes another plan.
        """
        while True:
            budget = self._pacer.prefill_budget(len(self._scheduler.streams()))
            plan = self._scheduler.plan(budget)
            lost = [slot for slot in map(self._execute, plan.operations) if slot is not None]
            if not lost:
                return plan
            for slot in lost:
                self._scheduler.lose(slot)

    def _decode(self, plan: StepPlan, clock: _Clock) -> bool:
        """False when there are no cells for the batch."""
        clock.lap("schedule")
        self._rows = self._runner.fill([work.chunk for work in plan.work])
        clock.lap("fill")
        try:
            self._runner.decode()
        except KvCacheFull:
            return False
        finally:
            clock.lap("decode")
        return True

    def _execute(self, operation: Operation) -> int | None:
        """Returns the slot that was left empty, if it failed."""
        runner = self._runner
        match operation:
            case CopyPrefix(source, target, num_tokens):
                done = runner.copy_prefix(source, target, num_tokens)
            case Truncate(target, num_tokens):
                done = runner.truncate(target, num_tokens)
            case Restore(saved, target, num_tokens):
                done = runner.restore(target, saved.state, num_tokens)
                if done:
                    self._host.restored(num_tokens)
                else:
                    self._host.failed(saved)
            case Save():
                self._save(operation)
                return None
        return None if done else operation.target

    def _save(self, operation: Save) -> None:
        if not self._host.make_room(self._runner.state_bytes(operation.slot)):
            return
        state = self._runner.save(operation.slot)
        if state is not None:
            self._host.put(operation.tokens, state)

    def _sample(self, plan: StepPlan, clock: _Clock) -> list[tuple[Sequence, int]]:
        sampled = []
        rows = iter(self._rows)
        for work in plan.work:
            if work.chunk.num_outputs and work.sequence.num_uncomputed == 0:
                row = next(rows) + work.chunk.num_outputs - 1
                try:
                    token = self._runner.sample(row, work.sequence.sampler)
                except InternalError as exc:
                    self._fail(work.sequence, exc)
                else:
                    sampled.append((work.sequence, token))
        clock.lap("sample")
        return sampled

    def _extend(self, sequence: Sequence, token: int) -> None:
        """Give a sequence its token: new text, and perhaps the end."""
        is_end = self._vocabulary.is_end(token)
        reason = sequence.append(token, is_end=is_end)
        text = "" if is_end else sequence.text.push(self._vocabulary.piece(token))
        if sequence.text.stopped:
            reason = "stop"
        elif reason is not None:
            text += sequence.text.flush()
        self._outcome.deltas.append(TextDelta(sequence.id, text, 1))
        if reason is not None:
            self._scheduler.finish(sequence)
            sequence.sampler.close()
            self._outcome.finished.append(Finished(sequence.id, reason))

    def _report(self, plan: StepPlan, clock: _Clock, left_out: int) -> None:
        self._step += 1
        stats = StepStats(
            step=self._step,
            decode_tokens=plan.decode_tokens,
            prefill_tokens=plan.prefill_tokens,
            left_out=left_out,
            running=self._scheduler.num_running,
            waiting=self._scheduler.num_waiting,
            kv_cells_used=self._scheduler.cells_used,
            preempted=self._scheduler.preempted_total,
            evicted=self._scheduler.evicted_total,
            schedule_seconds=clock.phases["schedule"],
            fill_seconds=clock.phases["fill"],
            decode_seconds=clock.phases["decode"],
            sample_seconds=clock.phases["sample"],
            text_seconds=clock.phases["text"],
            host_bytes=self._host.used_bytes,
            host_limit_bytes=self._host.limit_bytes,
            host_entries=len(self._host),
            host_restored_tokens=self._host.restored_tokens_total,
            host_failed_restores=self._host.failed_restores_total,
        )
        outcome, self._outcome = self._outcome, _Outcome()
        self._send(
            StepOutput(stats, outcome.started, outcome.deltas, outcome.finished, outcome.failed)
        )

    # --- sequences ---------------------------------------------------------------------------

    def _add(self, command: NewSequence) -> None:
        submit, tokens = command.submit, command.tokens
        room = self._context_tokens - len(tokens)
        num_output = room if submit.max_tokens is None else min(room, submit.max_tokens)
        self._scheduler.submit(
            Sequence(
                id=submit.id,
                tokens=tokens,
                num_prompt_tokens=len(tokens),
                max_total_tokens=len(tokens) + num_output,
                sampler=self._runner.new_sampler(submit.sampling, tokens),
                text=TextStream(submit.stop),
            )
        )

    def _fail(self, sequence: Sequence, error: InternalError) -> None:
        self._scheduler.finish(sequence)
        sequence.sampler.close()
        self._outcome.failed.append(Failed(sequence.id, error.code, error.message))
