"""What is refused at once, and when to come back."""

import time

import pytest

from gguf_server.errors import (
    EngineUnavailable,
    ModelLoading,
    QueueFull,
    RequestError,
    ServerDraining,
)
from gguf_server.supervisor.admission import retry_after_seconds
from gguf_server.supervisor.status import State
from gguf_server.wire.messages import (
    Finished,
    Started,
)
from tests.server.supervisor.desk import MAX_WAITING, SLOTS, Desk, FakeProcess, run


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
