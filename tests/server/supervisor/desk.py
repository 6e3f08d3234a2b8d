"""An engine client on a process that says what a test lets it say."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.generation import Generation
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess, Listener
from gguf_server.supervisor.status import State, Status
from gguf_server.wire.messages import (
    Failed,
    Finished,
    FromEngine,
    PromptPart,
    SamplingParams,
    Started,
    StepOutput,
    Submit,
    TextDelta,
    ToEngine,
)
from tests.facts import FACTS, STATS

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
            detail="",
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

    def generate(self, prompt: str = "x") -> Generation:
        return self.client.generate(
            prompt=prompt, max_tokens=5, stop=("s",), sampling=SamplingParams(seed=0)
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


def submitted(desk: Desk) -> list[Submit]:
    return [each for each in desk.process.sent if isinstance(each, Submit)]
