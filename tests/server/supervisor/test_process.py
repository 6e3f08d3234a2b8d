"""The life of a real child process, played by a fake engine: every way to load, die and hang."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gguf_server.errors import CrashLoop, EngineDied, EngineUnavailable, LoadError
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.generation import Delta
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess, Patience
from gguf_server.supervisor.status import State
from gguf_server.wire.messages import EngineConfig, FromEngine, ModelFacts, SamplingParams
from tests.server.supervisor.preparations import prepared

ROOT = Path(__file__).parents[3]
# Nothing here takes nearly as long; this ends a hang.
HANG_SECONDS = 60


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            await coroutine

    asyncio.run(limited())


async def until(condition: Callable[[], object]) -> None:
    # Another process decides when: there is no event to wait for.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


@dataclass
class Witness:
    """Notes what the process tells its listener, and the state at that moment."""

    process: EngineProcess
    lost: list[tuple[str, str]] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def on_message(self, message: FromEngine) -> None:
        self.note()

    def on_ready(self, facts: ModelFacts) -> None:
        self.note()

    def on_lost(self, cause: str, reason: str) -> None:
        self.lost.append((cause, reason))
        self.note()

    def note(self) -> None:
        state = self.process.status.state
        if not self.states or self.states[-1] is not state:
            self.states.append(state)


@dataclass
class Stage:
    """A supervised fake engine that plays ``lives``, one after the other."""

    directory: Path

    def process(
        self, *lives: str, step: float = 5.0, load: float = 20.0, max_crashes: int = 3
    ) -> EngineProcess:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        code += "from tests.server.supervisor.fake_engine import main; main()"
        return EngineProcess(
            prepared(EngineConfig(model_path="/no/such/file")),
            Patience(
                step_seconds=step,
                load_seconds=load,
                max_crashes=max_crashes,
                crash_window_seconds=600,
            ),
            environment=os.environ,
            command=(sys.executable, "-c", code, str(self.directory), *lives),
        )

    @property
    def pids(self) -> list[int]:
        """Of all engines there have been."""
        try:
            lines = (self.directory / "starts").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(line) for line in lines]

    def assert_nobody_is_left(self) -> None:
        for pid in self.pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def long_last_breath(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for an engine to end by itself, where it is wrong, cannot be overlooked."""
    monkeypatch.setattr("gguf_server.supervisor.process._LAST_BREATH_SECONDS", 50.0)


@asynccontextmanager
async def running(process: EngineProcess) -> AsyncIterator[None]:
    """Ends the test at once if the supervisor gives up, and the supervisor with the test."""
    async with asyncio.TaskGroup() as tasks:
        supervising = tasks.create_task(process.run())
        yield
        supervising.cancel()


# --- a good day ----------------------------------------------------------------------------------


def test_an_engine_loads_tells_how_far_it_is_and_is_ready(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("loads:0.5 ready serves")
        assert process.status.state is State.LOADING
        async with running(process):
            await until(lambda: process.status.stage == "weights" and process.status.fraction > 0.3)
            loading = process.status
            assert loading.state is State.LOADING
            assert not loading.ever_ready
            assert loading.remaining_seconds is not None
            assert 0 < loading.remaining_seconds < 30
            await until(lambda: process.status.state is State.READY)
            ready = process.status
            assert ready.ever_ready
            assert ready.facts is not None
            assert ready.facts.description == "a small model"
            assert (ready.fraction, ready.restarts, ready.reason) == (1.0, 0, "")
            assert [process.pid] == stage.pids
        stage.assert_nobody_is_left()

    run(story())


@pytest.mark.parametrize("way", ["serves", "embeds"])
def test_an_engine_that_waits_for_work_or_embeds_is_not_called_stuck(
    stage: Stage, way: str
) -> None:
    async def story() -> None:
        process = stage.process(f"ready {way}:3 exits:0", step=1.0)
        async with running(process):
            await until(lambda: process.status.restarts)
            assert process.status.reason == "the engine exited with code 0"

    run(story())


# --- slow loads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["loads", "reads"])
def test_a_load_that_gets_on_is_never_given_up_however_long_it_takes(
    stage: Stage, way: str
) -> None:
    async def story() -> None:
        process = stage.process(f"{way}:3.5 ready serves", load=1.2)
        async with running(process):
            await until(lambda: process.status.state is State.READY)
            assert process.status.restarts == 0

    run(story())


def test_a_load_without_any_progress_is_given_up_and_tried_again(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("loads:0.2 hangs", "ready serves", load=0.6)
        witness = Witness(process)
        process.listen(witness)
        async with running(process):
            await until(lambda: process.status.state is State.READY)
        [(cause, reason)] = witness.lost
        assert cause == "stall"
        assert "made no progress for" in reason
        assert process.status.restarts == 1
        assert witness.states[:2] == [State.LOADING, State.READY]
        stage.assert_nobody_is_left()

    run(story())


def test_a_model_that_cannot_be_loaded_is_not_tried_again(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("loads:0.1 fails:no_such_tensor exits:4")
        with pytest.raises(LoadError, match=r"^no such tensor$"):
            await process.run()
        assert process.status.state is State.FAILED
        assert process.status.reason == "no such tensor"
        assert len(stage.pids) == 1
        stage.assert_nobody_is_left()

    run(story())


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("dies", "was killed by SIGKILL"),
        ("aborts", "was killed by SIGABRT"),
        ("exits:1", "exited with code 1"),
        (
            "says:CUDA_error:_out_of_memory aborts",
            "was killed by SIGABRT: CUDA error: out of memory",
        ),
        ("says:first says:last exits:3", "exited with code 3: last"),
    ],
)
def test_a_crashed_engine_is_replaced_and_its_last_words_are_kept(
    stage: Stage, death: str, how: str
) -> None:
    async def story() -> None:
        process = stage.process(f"ready {death}", "ready serves")
        witness = Witness(process)
        process.listen(witness)
        async with running(process):
            await until(lambda: process.status.restarts == 1 and process.pid is not None)
            await until(lambda: process.status.state is State.READY)
        assert witness.lost == [("crash", f"the engine {how}")]
        assert witness.states[:3] == [State.READY, State.REPLACING, State.READY]
        assert process.status.ever_ready
        stage.assert_nobody_is_left()

    run(story())


def test_an_engine_killed_from_outside_is_replaced(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready serves")
        async with running(process):
            await until(lambda: process.status.state is State.READY)
            first = process.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: process.status.restarts == 1)
            await until(lambda: process.status.state is State.READY)
            assert process.pid not in (None, first)
        stage.assert_nobody_is_left()

    run(story())


def test_a_crash_before_ready_is_still_loading_and_not_replacing(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("aborts", "hangs")
        witness = Witness(process)
        process.listen(witness)
        async with running(process):
            await until(lambda: process.status.restarts == 1)
            assert process.status.state is State.LOADING
            assert process.status.reason == "the engine was killed by SIGABRT"
        assert witness.states == [State.LOADING]

    run(story())


def test_a_crash_loop_ends_with_the_reason(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready says:out_of_memory aborts", max_crashes=3)
        witness = Witness(process)
        process.listen(witness)
        with pytest.raises(CrashLoop) as caught:
            await process.run()
        reason = "the engine was killed by SIGABRT: out of memory"
        assert caught.value.message == f"gave up after 3 crashes within 600 s; last: {reason}"
        assert process.status.state is State.FAILED
        assert process.status.reason == reason
        assert witness.lost == [("crash", reason)] * 3
        assert len(stage.pids) == 3
        stage.assert_nobody_is_left()

    run(story())


@pytest.mark.usefixtures("long_last_breath")
def test_a_model_whose_load_crashes_twice_cannot_be_loaded(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("says:GGML_ASSERT_failed aborts", max_crashes=3)
        witness = Witness(process)
        process.listen(witness)
        with pytest.raises(LoadError) as caught:
            await process.run()
        reason = "the engine was killed by SIGABRT: GGML ASSERT failed"
        assert reason in caught.value.message
        assert "cannot load /no/such/file" in caught.value.message
        assert process.status.state is State.FAILED
        assert process.status.reason == reason
        assert witness.lost == [("crash", reason)] * 2

    run(story())


def test_an_engine_that_speaks_another_language_is_replaced_at_once(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready babbles hangs", "ready serves")
        began = time.monotonic()
        async with running(process):
            await until(lambda: process.status.restarts == 1)
            assert time.monotonic() - began < 20
            await until(lambda: process.status.state is State.READY)
        stage.assert_nobody_is_left()

    run(story())


def test_an_engine_that_hangs_up_but_does_not_end_is_ended(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready closes hangs", "ready serves")
        async with running(process):
            await until(lambda: process.status.ever_ready)
            await until(lambda: process.status.state is not State.READY)
            assert process.pid is None, "nobody may send to it any more"
            await until(lambda: process.status.state is State.READY)
        stage.assert_nobody_is_left()

    run(story())


# --- stalls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["hangs", "stops"])
def test_an_engine_that_falls_silent_is_found_within_the_limit_and_replaced(
    stage: Stage, way: str
) -> None:
    async def story() -> None:
        process = stage.process(f"ready serves:0.3 {way}", "ready serves", step=1.0)
        witness = Witness(process)
        process.listen(witness)
        async with running(process):
            await until(lambda: process.status.state is State.READY)
            began = time.monotonic()
            await until(lambda: process.status.restarts == 1)
            # 0.3 s of service, the limit, one check: 1.8 s, and more on a machine under load.
            assert time.monotonic() - began < 5
            await until(lambda: process.status.state is State.READY)
        [(cause, reason)] = witness.lost
        assert cause == "stall"
        assert reason.startswith("the engine made no progress for ")
        stage.assert_nobody_is_left()

    run(story())


def test_an_engine_whose_warm_up_was_slow_gets_more_time_for_a_step(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready:60 hangs", step=1.0)
        async with running(process):
            await until(lambda: process.status.state is State.READY)
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 2.0)
            assert process.status.state is State.READY

    run(story())


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("long_last_breath")
@pytest.mark.parametrize("life", ["loads:60", "hangs", "ready serves", "ready hangs", "stops"])
def test_cancellation_leaves_no_child_behind_and_does_not_wait_for_one(
    stage: Stage, life: str
) -> None:
    async def story() -> None:
        process = stage.process(life)
        async with running(process):
            await until(lambda: stage.pids)
            if "ready" in life:
                await until(lambda: process.status.state is State.READY)
            began = time.monotonic()
        assert time.monotonic() - began < 20
        assert process.pid is None
        stage.assert_nobody_is_left()

    run(story())


def test_cancellation_while_a_dead_engines_successor_is_awaited(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready exits:1", max_crashes=5)
        async with running(process):
            await until(lambda: process.status.restarts == 2)  # now it waits a second
        stage.assert_nobody_is_left()

    run(story())


# --- with open requests --------------------------------------------------------------------------


def ask(client: EngineClient) -> Any:
    return client.generate(prompt="x", max_tokens=None, stop=(), sampling=SamplingParams())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP])
def test_every_open_request_gets_its_text_and_one_error_when_the_engine_is_lost(
    stage: Stage, number: signal.Signals
) -> None:
    async def story() -> None:
        process = stage.process("ready serves", step=1.0)
        client = EngineClient(process, Metrics(), max_waiting=4)
        async with running(process):
            await client.ready.wait()
            generations = [ask(client) for _ in range(4)]
            for generation in generations:
                assert await generation.accepted() == 3
                assert await generation.next() == Delta("word")
            assert process.pid is not None
            os.kill(process.pid, number)
            for generation in generations:
                with pytest.raises(EngineDied, match="this request was lost with it"):
                    await generation.next()
            assert client.num_open == 0
            await until(lambda: client.status.state is State.READY)
            async with ask(client) as generation:
                assert await generation.next() == Delta("word")

    run(story())


def test_requests_are_refused_from_the_moment_the_engine_is_gone(stage: Stage) -> None:
    async def story() -> None:
        process = stage.process("ready serves:0.2 closes hangs", "hangs")
        client = EngineClient(process, Metrics(), max_waiting=4)
        async with running(process):
            await client.ready.wait()
            generation = ask(client)
            await until(lambda: client.status.state is not State.READY)
            with pytest.raises(EngineUnavailable, match="it is being replaced"):
                ask(client)
            async with generation:
                pass  # its caller leaves just now: nobody to tell

    run(story())
