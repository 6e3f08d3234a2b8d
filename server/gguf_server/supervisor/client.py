"""The open requests, and the terminal law: each ends exactly once, whatever dies."""

import asyncio
import itertools
import logging
import math
import time

from gguf_server.errors import (
    EngineDied,
    EngineUnavailable,
    ModelLoading,
    QueueFull,
    RequestError,
    ServerDraining,
    request_error,
)
from gguf_server.supervisor.generation import Generation
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess
from gguf_server.supervisor.status import State, Status
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Detokenize,
    Detokenized,
    FromEngine,
    ModelFacts,
    Rejected,
    SamplingParams,
    StepOutput,
    Submit,
    Tokenize,
    Tokenized,
)

_SMOOTHING = 0.2
_MAX_RETRY_AFTER_SECONDS = 600

_log = logging.getLogger(__name__)


class EngineClient:
    """Everything that the HTTP side asks of the engine goes through here.

    ``ready`` is set once a model has been served for the first time, ``idle`` whenever no request
    is open.
    """

    def __init__(self, process: EngineProcess, metrics: Metrics, *, max_waiting: int) -> None:
        self.ready = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._process = process
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._ids = itertools.count(1)
        self._open: dict[int, Generation] = {}
        self._answers: dict[int, asyncio.Future[Tokenized | Detokenized]] = {}
        self._mean_seconds: float | None = None
        self._closed = False
        process.listen(self)

    @property
    def status(self) -> Status:
        return self._process.status

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    @property
    def capacity(self) -> int:
        """How many requests may be open at once, running and waiting."""
        return self.require_engine().slots + self._max_waiting

    # --- asking ------------------------------------------------------------------------------

    def generate(
        self,
        *,
        prompt: str | tuple[int, ...],
        max_tokens: int | None,
        stop: tuple[str, ...],
        sampling: SamplingParams,
    ) -> Generation:
        """Submit one sequence. Raises at once when it cannot even wait."""
        self._require_place()
        generation = Generation(next(self._ids), time.monotonic(), self._leave)
        request = Submit(
            id=generation.id,
            prompt=prompt,
            max_tokens=max_tokens,
            stop=stop,
            sampling=sampling,
        )
        self._process.send(request)
        self._metrics.submitted(request)
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

    def close(self) -> None:
        """Take no more requests; those that are open go on."""
        self._closed = True

    def fail_all(self, error: RequestError) -> None:
        """End every open request with ``error``."""
        generations, self._open = list(self._open.values()), {}
        self.idle.set()
        for generation in generations:
            generation.fail(error)
            self._metrics.failed()
        answers, self._answers = list(self._answers.values()), {}
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)

    # --- what the engine says ----------------------------------------------------------------

    def on_message(self, message: FromEngine) -> None:
        match message:
            case StepOutput():
                self._on_step(message)
            case Accepted():
                if generation := self._open.get(message.id):
                    generation.accept(message.num_prompt_tokens)
            case Rejected():
                self._end_with_error(
                    message.id, request_error(message.code, message.message, message.param)
                )
            case Tokenized() | Detokenized():
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
        if self._open:
            _log.error("%d open requests were lost with the engine", len(self._open))
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
        for delta in output.deltas:
            if generation := self._open.get(delta.id):
                self._metrics.token(generation, now)
                generation.add(delta.text, delta.num_tokens, now)
        for finished in output.finished:
            if generation := self._close(finished.id):
                self._learn(now - (generation.started_at or now))
                self._metrics.finished(generation, finished.reason, now)
                generation.finish(finished.reason)
        for failed in output.failed:
            self._end_with_error(failed.id, request_error(failed.code, failed.message))

    def _end_with_error(self, message_id: int, error: RequestError) -> None:
        if generation := self._close(message_id):
            generation.fail(error)
            self._metrics.failed()
        answer = self._answers.pop(message_id, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    # --- the rest ----------------------------------------------------------------------------

    def _close(self, generation_id: int) -> Generation | None:
        """An open request is about to end; None if it has ended already."""
        generation = self._open.pop(generation_id, None)
        if not self._open:
            self.idle.set()
        return generation

    def _leave(self, generation: Generation) -> None:
        """Its caller is gone: stop computing it, if it still runs."""
        if self._close(generation.id) is not None:
            if self._process.status.state is State.READY:
                self._process.send(Cancel(generation.id))
            self._metrics.cancelled()

    async def _ask(self, question: Tokenize | Detokenize) -> Tokenized | Detokenized:
        self._require_place()
        answer: asyncio.Future[Tokenized | Detokenized]
        answer = asyncio.get_running_loop().create_future()
        self._answers[question.id] = answer
        try:
            self._process.send(question)
            return await answer
        finally:
            self._answers.pop(question.id, None)

    def _require_place(self) -> None:
        slots = self.require_engine().slots
        num_open = len(self._open) + len(self._answers)
        if num_open >= self.capacity:
            msg = (
                f"{num_open} requests are running or waiting, which is the limit "
                f"({slots} slots, {self._max_waiting} waiting); try again later"
            )
            raise QueueFull(msg, retry_after_seconds=self._retry_after_seconds(slots))

    def require_engine(self) -> ModelFacts:
        """The model that is being served; raises the error that says why there is none."""
        status = self.status
        if status.state is State.READY and status.facts is not None and not self._closed:
            return status.facts
        if self._closed or status.draining:
            msg = "the server is shutting down; send the request to another one"
            raise ServerDraining(msg, retry_after_seconds=1)
        retry_after = math.ceil(status.remaining_seconds or 5)
        if status.state is State.LOADING:
            msg = f"the model is still loading ({status.stage}, {status.fraction:.0%})"
            raise ModelLoading(msg, retry_after_seconds=retry_after)
        outlook = "could not be" if status.state is State.FAILED else "is being"
        msg = f"{status.reason or 'the engine is gone'}; it {outlook} replaced"
        raise EngineUnavailable(msg, retry_after_seconds=retry_after)

    def _learn(self, seconds: float) -> None:
        mean = self._mean_seconds
        self._mean_seconds = seconds if mean is None else mean + _SMOOTHING * (seconds - mean)

    def _retry_after_seconds(self, slots: int) -> int:
        now = time.monotonic()
        oldest = min((each.submitted_at for each in self._open.values()), default=now)
        mean = self._mean_seconds or now - oldest
        return retry_after_seconds(len(self._open) + 1 - slots, slots, mean)


def retry_after_seconds(num_waiting: int, slots: int, mean_seconds: float) -> int:
    """When ``num_waiting`` requests ahead will have had their slot: whole seconds, at least 1."""
    estimate = math.ceil(num_waiting * mean_seconds / slots)
    return max(1, min(estimate, _MAX_RETRY_AFTER_SECONDS))
