"""The terminal law: each request ends exactly once, whatever dies."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.errors import (
    EngineDied,
    InternalError,
    InvalidRequest,
    RequestError,
    ServerDraining,
    request_error,
)
from gguf_server.supervisor.generation import Delta, Generation
from gguf_server.supervisor.status import State
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Failed,
    Finished,
    FinishReason,
    Heartbeat,
    Rejected,
    Started,
    StepOutput,
    TextDelta,
)
from tests.facts import STATS
from tests.server.supervisor.desk import (
    MAX_WAITING,
    SLOTS,
    Desk,
    others,
    run,
)


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
