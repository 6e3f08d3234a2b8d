"""A step of generation: schedule, compute, sample, tell. Knows no llama.cpp and no sockets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gguf_server.engine.mover import Mover
from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import (
    Chunk,
    EngineFatal,
    Grammar,
    KvCacheFull,
    Runner,
    Vocabulary,
)
from gguf_server.engine.scheduler import Scheduler, StepPlan
from gguf_server.engine.sequence import Sequence
from gguf_server.engine.text import TextStream
from gguf_server.errors import RequestError
from gguf_server.wire.messages import (
    Cancel,
    Failed,
    Finished,
    FinishReason,
    FromEngine,
    PromptPart,
    Started,
    StepOutput,
    StepStats,
    Submit,
    TextDelta,
    TokenLogprob,
)


@dataclass(frozen=True, slots=True)
class NewSequence:
    """An accepted request on its way to the scheduler."""

    submit: Submit
    tokens: list[int]
    grammar: Grammar | None = None


@dataclass(slots=True)
class _Clock:
    """Seconds of one step by phase."""

    phases: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now


class _Sampled(NamedTuple):
    """One sequence's next token, with its log-probabilities if they were asked for."""

    sequence: Sequence
    token: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class _Outcome:
    """What one step has to tell."""

    started: list[Started] = field(default_factory=list)
    deltas: list[TextDelta] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    prompts: list[PromptPart] = field(default_factory=list)


class Generator:
    """Runs all sequences together, a step at a time."""

    def __init__(
        self,
        *,
        runner: Runner,
        vocabulary: Vocabulary,
        scheduler: Scheduler,
        pacer: StepPacer,
        context_tokens: int,
        send: Callable[[FromEngine], None],
    ) -> None:
        self._runner = runner
        self._vocabulary = vocabulary
        self._scheduler = scheduler
        self._host = scheduler.host
        self._mover = Mover(runner, scheduler.host)
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
            self._mover.save(save)
        sampled = self._sample(plan, clock)
        for each in sampled:
            self._extend(each)
        clock.lap("text")
        served = {each.sequence.id for each in sampled}
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
            lost = [slot for slot in map(self._mover.execute, plan.operations) if slot is not None]
            if not lost:
                return plan
            for slot in lost:
                self._scheduler.lose(slot)

    def _decode(self, plan: StepPlan, clock: _Clock) -> bool:
        """False when there are no cells for the batch."""
        clock.lap("schedule")
        plan.rows = self._runner.fill([work.chunk for work in plan.work])
        clock.lap("fill")
        try:
            self._runner.decode()
        except KvCacheFull:
            return False
        finally:
            clock.lap("decode")
        return True

    def _sample(self, plan: StepPlan, clock: _Clock) -> list[_Sampled]:
        sampled = []
        rows = iter(plan.rows)
        for work in plan.work:
            if not work.chunk.num_outputs:
                continue
            first_row, sequence = next(rows), work.sequence
            if sequence.num_scored < sequence.num_prompt_tokens and sequence.scores_prompt:
                self._score(sequence, work.chunk, first_row)
            if sequence.is_full:
                self._finish(sequence, "length")  # a prompt that is only looked at
            elif sequence.num_uncomputed == 0:
                try:
                    sampled.append(
                        self._sample_one(sequence, first_row + work.chunk.num_outputs - 1)
                    )
                except RequestError as exc:
                    self._fail(sequence, exc)
        clock.lap("sample")
        return sampled

    def _sample_one(self, sequence: Sequence, row: int) -> _Sampled:
        if sequence.num_logprobs is None:
            return _Sampled(sequence, self._runner.sample(row, sequence.sampler))
        logprobs = self._runner.logprobs(row)
        token = self._runner.sample(row, sequence.sampler)
        return _Sampled(sequence, token, (logprobs.of(token, sequence.num_logprobs),))

    def _score(self, sequence: Sequence, chunk: Chunk, first_row: int) -> None:
        """Tell how likely the tokens of a prompt were; each row judges the token after its own."""
        part: list[TokenLogprob] = []
        if sequence.num_scored == 0:
            token = sequence.tokens[0]
            part.append(TokenLogprob(token, self._vocabulary.spelling(token), None, ()))
        for offset in range(len(chunk.tokens)):
            position = chunk.start + offset + 1
            if sequence.num_scored <= position < sequence.num_prompt_tokens:
                logprobs = self._runner.logprobs(first_row + offset)
                part.append(logprobs.of(sequence.tokens[position], sequence.num_logprobs or 0))
        sequence.num_scored += len(part)
        self._outcome.prompts.append(PromptPart(sequence.id, tuple(part)))

    def _extend(self, sampled: _Sampled) -> None:
        """Give a sequence its token: new text, and perhaps the end."""
        sequence, token = sampled.sequence, sampled.token
        is_end = self._vocabulary.is_end(token)
        reason = sequence.append(token, is_end=is_end)
        piece = self._vocabulary.spelling if sequence.show_special else self._vocabulary.piece
        text = "" if is_end else sequence.text.push(piece(token))
        if sequence.text.stopped or sequence.sampler.is_complete:
            reason = "stop"
        if reason is not None and not sequence.text.stopped:
            text += sequence.text.flush()
        # An end has no text. Who scores a prompt counts tokens and expects all that were generated.
        logprobs = () if is_end and not sequence.scores_prompt else sampled.logprobs
        self._outcome.deltas.append(TextDelta(sequence.id, text, 1, logprobs))
        if reason is not None:
            self._finish(sequence, reason)

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
            StepOutput(
                stats,
                outcome.started,
                outcome.deltas,
                outcome.finished,
                outcome.failed,
                outcome.prompts,
            )
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
                sampler=self._runner.new_sampler(submit.sampling, tokens, command.grammar),
                text=TextStream(submit.stop),
                num_logprobs=submit.sampling.num_logprobs,
                scores_prompt=submit.prompt_logprobs,
                show_special=submit.show_special,
            )
        )

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        self._scheduler.finish(sequence)
        sequence.sampler.close()
        self._outcome.finished.append(Finished(sequence.id, reason))

    def _fail(self, sequence: Sequence, error: RequestError) -> None:
        self._scheduler.finish(sequence)
        sequence.sampler.close()
        self._outcome.failed.append(Failed(sequence.id, error.code, error.message))
