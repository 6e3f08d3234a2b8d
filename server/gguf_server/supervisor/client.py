"""The open requests, and the terminal law: each ends exactly once, whatever dies."""

import asyncio
import itertools
import logging
import time

from gguf_server.errors import EngineDied, RequestError, request_error
from gguf_server.supervisor.admission import Admission
from gguf_server.supervisor.generation import Generation
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess
from gguf_server.supervisor.quarantine import Quarantine, Work
from gguf_server.supervisor.status import State, Status
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Constraint,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    FromEngine,
    Heartbeat,
    ModelFacts,
    Rejected,
    SamplingParams,
    StepOutput,
    Submit,
    Tokenize,
    Tokenized,
)

_Answer = Tokenized | Detokenized | Embedded

_log = logging.getLogger(__name__)


class EngineClient:
    """Everything that the HTTP side asks of the engine goes through here.

    ``ready`` is set once a model has been served for the first time, ``idle`` whenever no request
    is open.
    """

    def __init__(
        self,
        process: EngineProcess,
        metrics: Metrics,
        *,
        max_waiting: int,
        crash_window_seconds: float = 600.0,
    ) -> None:
        self.ready = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._process = process
        self._metrics = metrics
        self._admission = Admission(lambda: process.status, max_waiting)
        self._quarantine = Quarantine(crash_window_seconds)
        self._leaving: set[int] = set()
        self._ids = itertools.count(1)
        self._open: dict[int, Generation] = {}
        self._answers: dict[int, asyncio.Future[_Answer]] = {}
        process.listen(self)

    @property
    def status(self) -> Status:
        return self._process.status

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._open) + len(self._answers)

    @property
    def capacity(self) -> int:
        """How many requests may be open at once, running and waiting."""
        return self._admission.capacity

    def require_engine(self) -> ModelFacts:
        """The model that is being served; raises the error that says why there is none."""
        return self._admission.require_engine()

    # --- asking ------------------------------------------------------------------------------

    def generate(  # noqa: PLR0913 -- a Submit without its id, all by name
        self,
        *,
        prompt: str | tuple[int, ...],
        max_tokens: int | None,
        stop: tuple[str, ...],
        sampling: SamplingParams,
        constraint: Constraint | None = None,
        prompt_logprobs: bool = False,
        show_special: bool = False,
    ) -> Generation:
        """Submit one sequence. Raises at once when it cannot even wait."""
        self._require_place()
        generation = Generation(next(self._ids), time.monotonic(), self._leave)
        submit = Submit(
            id=generation.id,
            prompt=prompt,
            max_tokens=max_tokens,
            stop=stop,
            sampling=sampling,
            constraint=constraint,
            prompt_logprobs=prompt_logprobs,
            show_special=show_special,
        )
        self._send(submit)
        self._metrics.submitted(submit)
        self.idle.clear()
        self._open[generation.id] = generation  # only now: what cannot be sent takes no place
        return generation

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool
    ) -> tuple[int, ...]:
        """Token ids of ``text``."""
        question = Tokenize(
            next(self._ids), text, add_special=add_special, parse_special=parse_special
        )
        answer = await self._ask(question)
        assert isinstance(answer, Tokenized)
        return answer.tokens

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        """Text of token ids; raises ``InvalidRequest`` for ids outside the vocabulary."""
        answer = await self._ask(Detokenize(next(self._ids), tokens))
        assert isinstance(answer, Detokenized)
        return answer.text

    async def embed(
        self,
        input: str | tuple[int, ...],  # noqa: A002  (its name in the API)
        dimensions: int | None,
    ) -> Embedded:
        """The vector of one input. Cancelling the caller cancels it in the engine, too."""
        question = Embed(id=next(self._ids), input=input, dimensions=dimensions)
        try:
            answer = await self._ask(question)
        except asyncio.CancelledError:
            self._stop(question.id)
            raise
        assert isinstance(answer, Embedded)
        self._metrics.embedded(answer.num_tokens)
        return answer

    def close(self) -> None:
        """Take no more requests; those that are open go on."""
        self._admission.close()

    def fail_all(self, error: RequestError) -> None:
        """End every open request with ``error``."""
        generations, self._open = list(self._open.values()), {}
        for generation in generations:
            generation.fail(error)
            self._metrics.failed()
        answers, self._answers = list(self._answers.values()), {}
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)
        self.idle.set()

    # --- what the engine says ----------------------------------------------------------------

    def on_message(self, message: FromEngine) -> None:
        match message:
            case StepOutput():
                self._on_step(message)
                self._forget_leaving()
            case Heartbeat():
                self._metrics.idle()
                self._forget_leaving()
            case Accepted():
                if generation := self._open.get(message.id):
                    generation.accept(message.num_prompt_tokens)
            case Rejected():
                self._end_with_error(
                    message.id, request_error(message.code, message.message, message.param)
                )
            case Tokenized() | Detokenized() | Embedded():
                answer = self._answers.pop(message.id, None)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _:
                pass  # about the engine itself

    def on_ready(self, facts: ModelFacts) -> None:
        self._metrics.ready(facts)
        self.ready.set()

    def on_lost(self, cause: str, reason: str) -> None:
        self._metrics.lost(cause)
        self._quarantine.lost(self._perhaps_in_engine() | self._leaving, time.monotonic())
        self._leaving.clear()
        if count := self.num_open:
            _log.error("requests lost with the engine: %d", count)
        msg = f"{reason}; this request was lost with it, please send it again"
        self.fail_all(EngineDied(msg, retry_after_seconds=1))

    def _on_step(self, output: StepOutput) -> None:
        now = time.monotonic()
        self._metrics.step(output.stats)
        for started in output.started:
            if generation := self._open.get(started.id):
                # It got its slot when the step began; we hear of it when the step is over.
                generation.start(started.num_cached_tokens, now - sum(output.stats.phase_seconds))
                self._metrics.started(generation)
        for part in output.prompts:
            if generation := self._open.get(part.id):
                generation.add_prompt(part.tokens)
        for delta in output.deltas:
            if generation := self._open.get(delta.id):
                self._metrics.token(generation, now)
                generation.add(delta.text, delta.num_tokens, now, delta.logprobs)
        for finished in output.finished:
            self._quarantine.finished(finished.id)
            if generation := self._close(finished.id):
                self._let_next_in(finished.id)
                self._admission.learn(now - (generation.started_at or now))
                self._metrics.finished(generation, finished.reason, now)
                generation.finish(finished.reason)
        for failed in output.failed:
            self._end_with_error(failed.id, request_error(failed.code, failed.message))

    def _end_with_error(self, message_id: int, error: RequestError) -> None:
        if generation := self._close(message_id):
            self._let_next_in(message_id)
            generation.fail(error)
            self._metrics.failed()
        answer = self._answers.pop(message_id, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    # --- the rest ----------------------------------------------------------------------------

    def _close(self, generation_id: int) -> Generation | None:
        """An open request is about to end; None if it has ended already."""
        generation = self._open.pop(generation_id, None)
        self._note_idle()
        return generation

    def _note_idle(self) -> None:
        if not self.num_open:
            self.idle.set()

    def _send(self, work: Work) -> None:
        """To the engine, now or when its turn comes."""
        if not self._quarantine.admits(work, time.monotonic()):
            return
        try:
            self._process.send(work)
        except Exception:  # too large for a frame
            self._let_next_in(work.id)
            raise

    def _let_next_in(self, generation_id: int) -> None:
        """This one is no longer in the engine: another that was held back may go there."""
        following = self._quarantine.left(generation_id)
        if following is not None and self._process.status.state is State.READY:
            self._process.send(following)

    def _forget_leaving(self) -> None:
        """A step has ended since they were cancelled, and they are in no further one."""
        for generation_id in self._leaving:
            self._let_next_in(generation_id)
        self._leaving.clear()

    def _perhaps_in_engine(self) -> set[int]:
        """Those that are being computed or read.

        A start is told only when its step is over, so the next in line may have started too.
        """
        facts = self._process.status.facts
        sent = [each for each in self._open.values() if not self._quarantine.holds(each.id)]
        started = [each for each in sent if each.started_at is not None]
        others = [each for each in sent if each.started_at is None]
        free_slots = max(0, facts.slots - len(started)) if facts else 0
        unread = [each for each in others if not each.is_accepted]
        asked = {each for each in self._answers if not self._quarantine.holds(each)}
        return asked | {each.id for each in (*started, *others[:free_slots], *unread[:1])}

    def _leave(self, generation: Generation) -> None:
        """Its caller is gone: stop computing it, if it still runs."""
        if generation.id not in self._open:
            return
        if generation.id in self._perhaps_in_engine():
            self._leaving.add(generation.id)
        else:
            self._let_next_in(generation.id)
        self._close(generation.id)
        self._stop(generation.id)
        self._metrics.cancelled()

    def _stop(self, message_id: int) -> None:
        if self._process.status.state is State.READY:
            self._process.send(Cancel(message_id))

    async def _ask(self, question: Tokenize | Detokenize | Embed) -> _Answer:
        self._require_place()
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._answers[question.id] = answer
        self.idle.clear()
        try:
            self._send(question)
            found = await answer
            self._quarantine.finished(question.id)
            self._let_next_in(question.id)
        except asyncio.CancelledError:
            self._leaving.add(question.id)
            raise
        except RequestError:
            self._let_next_in(question.id)
            raise
        finally:
            self._answers.pop(question.id, None)
            self._note_idle()
        return found

    def _require_place(self) -> None:
        now = time.monotonic()
        oldest = min((each.submitted_at for each in self._open.values()), default=now)
        self._admission.require_place(self.num_open, now - oldest)
