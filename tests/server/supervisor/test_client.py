"""The open requests. Above all the terminal law: each ends exactly once, whatever dies."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.errors import (
    EngineDied,
    EngineUnavailable,
    InternalError,
    InvalidRequest,
    ModelLoading,
    QueueFull,
    RequestError,
    ServerDraining,
    request_error,
)
from gguf_server.supervisor.client import EngineClient, retry_after_seconds
from gguf_server.supervisor.generation import Delta, Generation
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess, Listener
from gguf_server.supervisor.status import State, Status
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Constraint,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    Failed,
    Finished,
    FinishReason,
    FromEngine,
    Heartbeat,
    PromptPart,
    Rejected,
    SamplingParams,
    Started,
    StepOutput,
    Submit,
    TextDelta,
    ToEngine,
    Tokenize,
    Tokenized,
    TokenLogprob,
)
from tests.server.supervisor.facts import FACTS, STATS

SLOTS = FACTS.slots
MAX_WAITING = 3

T = TypeVar("T")


@dataclass
class FakeProcess:
    """A supervisor whose engine is the test: it keeps what is sent and says what it is told."""

    state: State = State.READY
    draining: bool = False
    stage: str = "ready"
    fraction: float = 1.0
    remaining_seconds: float | None = None
    reason: str = ""
    sent: list[ToEngine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self.listeners.append(listener)

    @property
    def status(self) -> Status:
        return Status(
            state=self.state,
            ever_ready=True,
            draining=self.draining,
            stage=self.stage,
            fraction=self.fraction,
            elapsed_seconds=0.0,
            remaining_seconds=self.remaining_seconds,
            restarts=0,
            reason=self.reason,
            facts=FACTS,
        )

    def send(self, message: ToEngine) -> None:
        assert self.state is State.READY, "there is no engine to send to"
        self.sent.append(message)

    def say(self, message: FromEngine) -> None:
        for listener in self.listeners:
            listener.on_message(message)

    def lose(self) -> None:
        self.state = State.REPLACING
        for listener in self.listeners:
            listener.on_lost("crash", "the engine was killed by SIGKILL")

    def become_ready(self) -> None:
        self.state = State.READY
        for listener in self.listeners:
            listener.on_ready(FACTS)


@dataclass
class Desk:
    """A client with its fake engine."""

    process: FakeProcess = field(default_factory=FakeProcess)

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.client = EngineClient(
            cast(EngineProcess, self.process), self.metrics, max_waiting=MAX_WAITING
        )

    def generate(self) -> Generation:
        return self.client.generate(
            prompt="x", max_tokens=5, stop=("s",), sampling=SamplingParams(seed=0)
        )

    def step(
        self,
        *,
        started: list[Started] | None = None,
        deltas: list[TextDelta] | None = None,
        finished: list[Finished] | None = None,
        failed: list[Failed] | None = None,
        prompts: list[PromptPart] | None = None,
    ) -> None:
        output = StepOutput(
            STATS, started or [], deltas or [], finished or [], failed or [], prompts or []
        )
        self.process.say(output)


def run(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(20):
            return await story()

    return asyncio.run(limited())


async def others() -> None:
    """Let every other task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


# --- the terminal law ----------------------------------------------------------------------------


@dataclass
class Reader:
    """A caller of one request, and all that it ever saw. It begins when ``may_read`` is set."""

    generation: Generation
    may_read: asyncio.Event
    wants_acceptance: bool
    text: str = ""
    ends: list[RequestError | None] = field(default_factory=list)

    async def run(self) -> None:
        async with self.generation as generation:
            await self.may_read.wait()
            try:
                if self.wants_acceptance:
                    await generation.accepted()
            except RequestError:
                pass  # it will be told again
            for _ in range(3):  # whoever asks again hears the same
                self.ends.append(await self.read_to_the_end())

    async def read_to_the_end(self) -> RequestError | None:
        try:
            while (delta := await self.generation.next()) is not None:
                assert any(delta), "news that are none"
                self.text += delta.text
        except RequestError as exc:
            return exc
        return None


@dataclass
class Truth:
    """What must happen to one request, by the simplest possible account."""

    text: str = ""
    end: FinishReason | type[RequestError] | None = None
    is_cancelled: bool = False

    @property
    def is_open(self) -> bool:
        return self.end is None and not self.is_cancelled


def step_output(parts: list[tuple[str, int, str]]) -> StepOutput:
    output = StepOutput(STATS, [], [], [], [])
    for kind, each, text in parts:
        match kind:
            case "started":
                output.started.append(Started(each, 1))
            case "delta":
                output.deltas.append(TextDelta(each, text, 1))
            case "finished":
                output.finished.append(Finished(each, "length"))
            case _:
                output.failed.append(Failed(each, "internal_error", "bad logits"))
    return output


class Story:
    """Plays events against a client and keeps the account beside it."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.truths: dict[int, Truth] = {}
        self.readers: dict[int, Reader] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.cancelled_while_open: list[int] = []

    def open_ids(self) -> list[int]:
        return [each for each, truth in self.truths.items() if truth.is_open]

    def truth(self, each: int) -> Truth | None:
        """Of a request that is open; ids that are unknown or over must change nothing."""
        truth = self.truths.get(each)
        return truth if truth is not None and truth.is_open else None

    def end_all(self, error: type[RequestError]) -> None:
        for each in self.open_ids():
            self.truths[each].end = error

    def generate(self, eager: bool, wants_acceptance: bool) -> None:
        has_room = len(self.open_ids()) < SLOTS + MAX_WAITING
        if self.desk.process.state is not State.READY or not has_room:
            with pytest.raises(RequestError):
                self.desk.generate()
            return
        generation = self.desk.generate()
        may_read = asyncio.Event()
        if eager:
            may_read.set()
        reader = Reader(generation, may_read, wants_acceptance)
        self.truths[generation.id] = Truth()
        self.readers[generation.id] = reader
        self.tasks[generation.id] = asyncio.create_task(reader.run())

    async def cancel(self, each: int) -> None:
        task = self.tasks.get(each)
        if task is None or task.done():
            return
        await others()  # a task that never ran cannot leave what it never entered
        task.cancel()
        await asyncio.wait({task})
        truth = self.truths[each]
        if truth.is_open and self.desk.process.state is State.READY:
            self.cancelled_while_open.append(each)
        truth.is_cancelled = True

    def step(self, parts: list[tuple[str, int, str]]) -> None:
        output = step_output(parts)
        # In the order in which a step is read: all text, then the ends.
        for delta in output.deltas:
            if truth := self.truth(delta.id):
                truth.text += delta.text
        for finished in output.finished:
            if truth := self.truth(finished.id):
                truth.end = "length"
        for failed in output.failed:
            if truth := self.truth(failed.id):
                truth.end = InternalError
        self.desk.process.say(output)

    def reject(self, each: int, code: str) -> None:
        if truth := self.truth(each):
            truth.end = type(request_error(code, ""))
        self.desk.process.say(Rejected(each, code, "no"))

    def lose(self) -> None:
        self.end_all(EngineDied)
        self.desk.process.lose()

    def fail_all(self) -> None:
        self.end_all(ServerDraining)
        self.desk.client.fail_all(ServerDraining("over"))

    async def play(self, events: list[Any]) -> None:
        acts: dict[str, Callable[..., Any]] = {
            "generate": self.generate,
            "accepted": lambda each: self.desk.process.say(Accepted(each, 3)),
            "rejected": self.reject,
            "step": self.step,
            "cancel": self.cancel,
            "lose": self.lose,
            "ready": self.desk.process.become_ready,
            "drain": lambda: setattr(self.desk.process, "draining", True),
            "fail all": self.fail_all,
            "beat": lambda: self.desk.process.say(Heartbeat()),
            "pause": others,
        }
        for name, *arguments in events:
            doing = acts[name](*arguments)
            if doing is not None:
                await doing
            assert self.desk.client.num_open == len(self.open_ids())

    async def check_the_end(self) -> None:
        """Whatever is still open ends now, and everybody must have heard of it."""
        self.lose()
        for reader in self.readers.values():
            reader.may_read.set()
        if self.tasks:
            _, pending = await asyncio.wait(self.tasks.values(), timeout=5)
            assert not pending, "a reader hangs"
        assert self.desk.client.num_open == 0
        for each, truth in self.truths.items():
            self.check_reader(self.readers[each], truth)
        cancels = [m.id for m in self.desk.process.sent if isinstance(m, Cancel)]
        assert cancels == self.cancelled_while_open

    def check_reader(self, reader: Reader, truth: Truth) -> None:
        if truth.is_cancelled:
            assert truth.text.startswith(reader.text)
            return
        assert self.tasks[reader.generation.id].exception() is None
        assert reader.text == truth.text
        first = reader.ends[0]
        assert reader.ends == [first] * 3
        assert (reader.generation.finish_reason if first is None else type(first)) == truth.end


# Engines may speak of requests that are not there yet or over.
IDS = st.integers(1, 6)
PARTS = st.tuples(
    st.sampled_from(["started", "delta", "delta", "delta", "finished", "failed"]),
    IDS,
    st.text("abc", max_size=3),
)
CODES = st.sampled_from(["invalid_request", "context_length_exceeded", "unheard_of"])
EVENTS = st.one_of(
    st.tuples(st.just("generate"), st.booleans(), st.booleans()),
    st.tuples(st.just("generate"), st.booleans(), st.booleans()),
    st.tuples(st.just("accepted"), IDS),
    st.tuples(st.just("rejected"), IDS, CODES),
    st.tuples(st.just("step"), st.lists(PARTS, min_size=1, max_size=5)),
    st.tuples(st.just("step"), st.lists(PARTS, min_size=1, max_size=5)),
    st.tuples(st.just("cancel"), IDS),
    st.tuples(st.sampled_from(["lose", "ready", "ready", "drain", "fail all", "beat"])),
    st.tuples(st.just("pause")),
)
# A story that begins without a request has little to tell.
STORIES = st.tuples(
    st.lists(st.tuples(st.just("generate"), st.booleans(), st.booleans()), max_size=4),
    st.lists(EVENTS, max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(story=STORIES)
def test_every_request_ends_exactly_once_with_all_its_text_whatever_happens(
    story: tuple[list[Any], list[Any]],
) -> None:
    async def play() -> None:
        told = Story()
        await told.play([*story[0], *story[1]])
        await told.check_the_end()

    run(play)


@settings(max_examples=100, deadline=None)
@given(
    ends=st.lists(st.sampled_from(["finish", "fail", "reject", "lose", "fail all"]), min_size=1),
    accepted=st.booleans(),
)
def test_the_first_end_is_the_only_one(ends: list[str], accepted: bool) -> None:
    first = {
        "finish": "stop",
        "fail": InternalError,
        "reject": InvalidRequest,
        "lose": EngineDied,
        "fail all": ServerDraining,
    }[ends[0]]

    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            if accepted:
                desk.process.say(Accepted(generation.id, 3))
            desk.step(deltas=[TextDelta(generation.id, "text", 1)])
            for end in ends:
                match end:
                    case "finish":
                        desk.step(finished=[Finished(generation.id, "stop")])
                    case "fail":
                        desk.step(failed=[Failed(generation.id, "internal_error", "no")])
                    case "reject":
                        desk.process.say(Rejected(generation.id, "invalid_request", "no"))
                    case "lose":
                        desk.process.lose()
                    case _:
                        desk.client.fail_all(ServerDraining("over"))
            assert await generation.next() == Delta("text")
            for _ in range(2):
                if first == "stop":
                    assert await generation.next() is None
                    assert generation.finish_reason == "stop"
                else:
                    with pytest.raises(RequestError) as caught:
                        await generation.next()
                    assert type(caught.value) is first
            assert desk.client.num_open == 0
        assert not any(isinstance(message, Cancel) for message in desk.process.sent)

    run(story)


# --- one request ---------------------------------------------------------------------------------


def test_a_request_is_submitted_as_it_was_asked() -> None:
    async def story() -> None:
        desk = Desk()
        generation = desk.generate()
        assert desk.process.sent == [
            Submit(
                id=generation.id,
                prompt="x",
                max_tokens=5,
                stop=("s",),
                sampling=SamplingParams(seed=0),
            )
        ]

    run(story)


def test_what_a_request_asks_for_beside_text_reaches_the_engine() -> None:
    async def story() -> None:
        desk = Desk()
        constraint = Constraint("gbnf", 'root ::= "a"', "grammar")
        sampling = SamplingParams(num_logprobs=2)
        generation = desk.client.generate(
            prompt=(1, 2), max_tokens=0, stop=(), sampling=sampling, constraint=constraint,
            prompt_logprobs=True, show_special=True,
        )  # fmt: skip
        assert desk.process.sent == [
            Submit(
                id=generation.id, prompt=(1, 2), max_tokens=0, sampling=sampling,
                constraint=constraint, prompt_logprobs=True, show_special=True,
            )
        ]  # fmt: skip

    run(story)


def scored(token: int) -> TokenLogprob:
    return TokenLogprob(token, b"x", -1.0, ())


def test_log_probabilities_come_with_their_text_and_those_of_the_prompt_before() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            part = PromptPart(generation.id, (scored(1), scored(2)))
            desk.step(prompts=[part, PromptPart(99, (scored(7),))])
            assert await generation.next() == Delta("", [], [scored(1), scored(2)])
            desk.step(deltas=[TextDelta(generation.id, "", 1, (scored(3),))])
            first = await generation.next()
            assert first == Delta("", [scored(3)], [])
            desk.step(
                deltas=[TextDelta(generation.id, "ab", 1, (scored(4),))],
                finished=[Finished(generation.id, "stop")],
            )
            assert await generation.next() == Delta("ab", [scored(4)], [])
            assert first == Delta("", [scored(3)], []), "what was given is not changed later"
            assert await generation.next() is None

    run(story)


def test_who_reads_late_gets_all_of_it_as_one() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            desk.step(prompts=[PromptPart(generation.id, (scored(1),))])
            desk.step(prompts=[PromptPart(generation.id, (scored(2),))])
            for token in (3, 4):
                desk.step(deltas=[TextDelta(generation.id, "t", 1, (scored(token),))])
            desk.step(finished=[Finished(generation.id, "stop")])
            assert [delta async for delta in generation] == [
                Delta("tt", [scored(3), scored(4)], [scored(1), scored(2)])
            ]

    run(story)


def test_a_request_counts_its_tokens() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            desk.process.say(Accepted(generation.id, 17))
            assert await generation.accepted() == 17
            desk.step(
                started=[Started(generation.id, 9)], deltas=[TextDelta(generation.id, "a", 1)]
            )
            desk.step(deltas=[TextDelta(generation.id, "", 1)])
            desk.step(
                deltas=[TextDelta(generation.id, "b", 1)],
                finished=[Finished(generation.id, "stop")],
            )
            assert [delta.text async for delta in generation] == ["ab"]
            assert generation.num_prompt_tokens == 17
            assert generation.num_cached_tokens == 9
            assert generation.num_completion_tokens == 3

    run(story)


def test_a_refusal_reaches_who_waits_for_acceptance() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            waiting = asyncio.create_task(generation.accepted())
            await others()
            desk.process.say(Rejected(generation.id, "context_length_exceeded", "900 of 64"))
            with pytest.raises(RequestError, match="900 of 64") as caught:
                await waiting
            assert caught.value.code == "context_length_exceeded"

    run(story)


def test_an_end_without_acceptance_ends_the_wait_for_it() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            waiting = asyncio.create_task(generation.accepted())
            await others()
            desk.step(finished=[Finished(generation.id, "stop")])
            assert await waiting == 0

    run(story)


def test_a_read_that_is_cancelled_loses_no_text() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            reading = asyncio.create_task(generation.next())
            await others()
            reading.cancel()
            desk.step(deltas=[TextDelta(generation.id, "text", 1)])
            await asyncio.wait({reading})
            assert await generation.next() == Delta("text")

    run(story)


def test_who_leaves_early_cancels_once() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            pass
        async with generation:
            pass
        assert desk.process.sent[1:] == [Cancel(generation.id)]
        assert desk.client.num_open == 0
        count = desk.metrics.registry.get_sample_value(
            "gguf_server_requests_total", {"finished_reason": "cancelled"}
        )
        assert count == 1

    run(story)


def test_who_leaves_with_an_exception_cancels_too() -> None:
    async def story() -> None:
        desk = Desk()
        generation = desk.generate()
        with pytest.raises(ValueError, match="the caller's own"):
            async with generation:
                raise ValueError("the caller's own")
        assert desk.process.sent[1:] == [Cancel(generation.id)]

    run(story)


def test_who_leaves_after_the_end_cancels_nothing_even_if_he_never_read_it() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate() as generation:
            desk.step(finished=[Finished(generation.id, "stop")])
        assert len(desk.process.sent) == 1

    run(story)


def test_who_leaves_while_the_engine_is_gone_tells_nobody() -> None:
    async def story() -> None:
        desk = Desk()
        async with desk.generate():
            desk.process.state = State.REPLACING
        assert len(desk.process.sent) == 1
        assert desk.client.num_open == 0

    run(story)


def test_ids_are_never_used_twice_not_even_for_another_engine() -> None:
    async def story() -> None:
        desk = Desk()
        first = desk.generate()
        desk.process.lose()
        desk.process.become_ready()
        second = desk.generate()
        asking = asyncio.create_task(
            desk.client.tokenize("x", add_special=True, parse_special=True)
        )
        await others()
        assert len({first.id, second.id, desk.process.sent[-1].id}) == 3  # type: ignore[union-attr]
        asking.cancel()

    run(story)


def test_a_request_that_cannot_be_sent_takes_no_place() -> None:
    async def story() -> None:
        desk = Desk()

        def refuse(message: ToEngine) -> None:
            raise ValueError("too large")

        desk.process.send = refuse  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="too large"):
            desk.generate()
        with pytest.raises(ValueError, match="too large"):
            await desk.client.detokenize((1,))
        assert desk.client.num_open == 0
        assert not desk.client._answers

    run(story)


# --- what is refused at once ---------------------------------------------------------------------


def test_a_bounded_number_may_wait() -> None:
    async def story() -> None:
        desk = Desk()
        generations = [desk.generate() for _ in range(SLOTS + MAX_WAITING)]
        with pytest.raises(QueueFull, match="5 requests are running or waiting") as caught:
            desk.generate()
        assert caught.value.retry_after_seconds == 1
        assert len(desk.process.sent) == SLOTS + MAX_WAITING
        desk.step(finished=[Finished(generations[0].id, "stop")])
        desk.generate()

    run(story)


def test_when_to_come_back_is_computed_from_how_long_requests_take() -> None:
    async def story() -> None:
        desk = Desk()
        first, *_ = [desk.generate() for _ in range(SLOTS + MAX_WAITING)]
        desk.step(started=[Started(first.id, 0)])
        first.started_at = time.monotonic() - 10  # it has run for ten seconds
        desk.step(finished=[Finished(first.id, "stop")])
        desk.generate()
        with pytest.raises(QueueFull) as caught:
            desk.generate()
        # Four places of two slots, ten seconds each.
        assert caught.value.retry_after_seconds in (20, 21)

    run(story)


@pytest.mark.parametrize(
    ("num_waiting", "slots", "mean_seconds", "wanted"),
    [(4, 2, 10.0, 20), (1, 8, 0.5, 1), (3, 2, 1.0, 2), (1000, 1, 60.0, 600), (0, 2, 10.0, 1)],
)
def test_the_estimate_is_whole_seconds_from_1_to_600(
    num_waiting: int, slots: int, mean_seconds: float, wanted: int
) -> None:
    assert retry_after_seconds(num_waiting, slots, mean_seconds) == wanted


@pytest.mark.parametrize(
    ("process", "error", "message", "retry_after"),
    [
        (
            FakeProcess(State.LOADING, stage="weights", fraction=0.42, remaining_seconds=7.2),
            ModelLoading,
            r"still loading \(weights, 42%\)",
            8,
        ),
        (FakeProcess(State.LOADING, stage="start", fraction=0), ModelLoading, "start, 0%", 5),
        (
            FakeProcess(State.REPLACING, reason="the engine was killed by SIGKILL"),
            EngineUnavailable,
            "the engine was killed by SIGKILL; it is being replaced",
            5,
        ),
        (FakeProcess(State.REPLACING), EngineUnavailable, "the engine is gone", 5),
        (
            FakeProcess(State.FAILED, reason="gave up"),
            EngineUnavailable,
            "gave up; it could not be",
            5,
        ),
        (FakeProcess(State.LOADING, draining=True), ServerDraining, "shutting down", 1),
        (FakeProcess(State.REPLACING, draining=True), ServerDraining, "shutting down", 1),
    ],
)
def test_without_an_engine_a_request_is_refused_with_the_reason(
    process: FakeProcess, error: type[RequestError], message: str, retry_after: int
) -> None:
    async def story() -> None:
        desk = Desk(process)
        with pytest.raises(error, match=message) as caught:
            desk.generate()
        assert caught.value.retry_after_seconds == retry_after
        with pytest.raises(error):
            await desk.client.detokenize((1,))
        assert not process.sent
        assert desk.client.num_open == 0

    run(story)


def test_a_server_that_drains_still_takes_requests_while_its_engine_is_there() -> None:
    async def story() -> None:
        desk = Desk(FakeProcess(draining=True))
        desk.generate()
        assert desk.client.num_open == 1

    run(story)


def test_ready_is_told_once_and_stays() -> None:
    async def story() -> None:
        desk = Desk(FakeProcess(State.LOADING))
        assert not desk.client.ready.is_set()
        desk.process.become_ready()
        desk.process.lose()
        assert desk.client.ready.is_set()

    run(story)


# --- questions about tokens ----------------------------------------------------------------------


def test_questions_about_tokens_are_answered_in_any_order() -> None:
    async def story() -> None:
        desk = Desk()
        one = asyncio.create_task(desk.client.tokenize("a", add_special=False, parse_special=True))
        two = asyncio.create_task(desk.client.detokenize((7, 8)))
        await others()
        first, second = desk.process.sent
        assert isinstance(first, Tokenize)
        assert first == Tokenize(first.id, "a", add_special=False, parse_special=True)
        assert isinstance(second, Detokenize)
        assert second.tokens == (7, 8)
        desk.process.say(Detokenized(second.id, "text"))
        desk.process.say(Tokenized(first.id, (1, 2)))
        desk.process.say(Tokenized(first.id, (3, 4)))
        assert (await one, await two) == ((1, 2), "text")
        assert not desk.client._answers

    run(story)


def test_a_question_may_be_refused() -> None:
    async def story() -> None:
        desk = Desk()
        asking = asyncio.create_task(desk.client.detokenize((999,)))
        await others()
        [question] = desk.process.sent
        assert isinstance(question, Detokenize)
        desk.process.say(Rejected(question.id, "invalid_request", "token 999"))
        with pytest.raises(InvalidRequest, match="token 999"):
            await asking

    run(story)


def test_questions_fail_when_the_engine_is_lost() -> None:
    async def story() -> None:
        desk = Desk()
        asking = [asyncio.create_task(desk.client.detokenize((each,))) for each in range(3)]
        await others()
        desk.process.lose()
        for each in asking:
            with pytest.raises(EngineDied, match="SIGKILL"):
                await each
        assert not desk.client._answers

    run(story)


def test_a_question_whose_caller_is_gone_is_forgotten() -> None:
    async def story() -> None:
        desk = Desk()
        asking = asyncio.create_task(desk.client.detokenize((1,)))
        await others()
        [question] = desk.process.sent
        assert isinstance(question, Detokenize)
        asking.cancel()
        await asyncio.wait({asking})
        assert not desk.client._answers
        desk.process.say(Detokenized(question.id, "late"))
        desk.process.lose()

    run(story)


# --- embeddings ------------------------------------------------------------------------------


def test_inputs_are_embedded_as_they_were_given_and_answered_in_any_order() -> None:
    async def story() -> None:
        desk = Desk()
        one = asyncio.create_task(desk.client.embed("a", None))
        two = asyncio.create_task(desk.client.embed((1, 2), 8))
        await others()
        first, second = desk.process.sent
        assert isinstance(first, Embed)
        assert isinstance(second, Embed)
        assert (first.input, first.dimensions) == ("a", None)
        assert (second.input, second.dimensions) == ((1, 2), 8)
        for answer in (Embedded(second.id, 2, b"two"), Embedded(first.id, 1, b"one")):
            desk.process.say(answer)
        assert ((await one).vector, (await two).vector) == (b"one", b"two")
        assert not any(isinstance(message, Cancel) for message in desk.process.sent)

    run(story)


def test_an_input_may_be_refused_with_the_field_that_is_wrong() -> None:
    async def story() -> None:
        desk = Desk()
        asking = asyncio.create_task(desk.client.embed("a", 9000))
        await others()
        [question] = desk.process.sent
        assert isinstance(question, Embed)
        desk.process.say(Rejected(question.id, "invalid_request", "too many", "dimensions"))
        with pytest.raises(InvalidRequest, match="too many") as caught:
            await asking
        assert caught.value.param == "dimensions"

    run(story)


def test_an_embedding_whose_caller_leaves_is_cancelled_once() -> None:
    async def story() -> None:
        desk = Desk()
        asking = asyncio.create_task(desk.client.embed("a", None))
        await others()
        asking.cancel()
        await asyncio.wait({asking})
        question, cancel = desk.process.sent
        assert isinstance(question, Embed)
        assert cancel == Cancel(question.id)
        desk.process.say(Embedded(question.id, 1, b"late"))
        assert desk.client.num_open == 0

    run(story)


def test_embeddings_fail_when_the_engine_is_lost_and_nobody_is_told_of_leavers() -> None:
    async def story() -> None:
        desk = Desk()
        lost = asyncio.create_task(desk.client.embed("a", None))
        await others()
        desk.process.lose()
        with pytest.raises(EngineDied):
            await lost
        assert len(desk.process.sent) == 1
        with pytest.raises(EngineUnavailable):
            await desk.client.embed("a", None)

    run(story)


def test_a_server_that_drains_waits_for_open_embeddings() -> None:
    async def story() -> None:
        desk = Desk()
        asking = asyncio.create_task(desk.client.embed("a", None))
        await others()
        assert not desk.client.idle.is_set()
        assert desk.client.num_open == 1
        [question] = desk.process.sent
        assert isinstance(question, Embed)
        desk.process.say(Embedded(question.id, 1, b"one"))
        await asking
        assert desk.client.idle.is_set()

    run(story)
