"""A request that crashes the engine twice is refused the third time; bystanders only wait."""

import asyncio

import pytest

from gguf_server.errors import (
    CrashingRequest,
    EngineDied,
)
from gguf_server.wire.messages import (
    Accepted,
    Failed,
    Finished,
    FromEngine,
    Heartbeat,
    Rejected,
    Started,
    StepOutput,
)
from tests.facts import STATS
from tests.server.supervisor.desk import (
    SLOTS,
    Desk,
    others,
    run,
    submitted,
)


def lose_with(desk: Desk, *prompts: str, num_started: int = 1) -> None:
    generations = [desk.generate(prompt) for prompt in prompts]
    desk.step(started=[Started(each.id, 0) for each in generations[:num_started]])
    desk.process.lose()
    desk.process.become_ready()


def test_a_request_that_was_there_at_two_losses_is_refused_the_third_time() -> None:
    async def story() -> None:
        desk = Desk()
        lose_with(desk, "poison")
        lose_with(desk, "poison")
        with pytest.raises(CrashingRequest):
            desk.generate("poison")
        assert desk.client.num_open == 0
        desk.generate("another")

    run(story)


def test_a_request_that_crashes_the_engine_in_its_first_step_is_found_too() -> None:
    async def story() -> None:
        desk = Desk()
        lose_with(desk, "poison", num_started=0)
        lose_with(desk, "poison", num_started=0)
        with pytest.raises(CrashingRequest):
            desk.generate("poison")

    run(story)


def test_whoever_only_waited_for_a_slot_is_no_suspect() -> None:
    async def story() -> None:
        desk = Desk()
        prompts = [f"prompt {number}" for number in range(SLOTS + 2)]
        for _ in range(2):
            generations = [desk.generate(prompt) for prompt in prompts]
            for each in generations:
                desk.process.say(Accepted(each.id, 3))
            desk.step(started=[Started(each.id, 0) for each in generations[:SLOTS]])
            desk.process.lose()
            desk.process.become_ready()
        desk.process.sent.clear()
        for prompt in prompts[SLOTS:]:
            desk.generate(prompt)
        assert len(desk.process.sent) == 2, "neither refused nor held back"

    run(story)


def test_whoever_hangs_up_while_the_engine_hangs_is_still_a_suspect() -> None:
    async def story() -> None:
        desk = Desk()
        for _ in range(2):
            async with desk.generate("poison") as generation:
                desk.step(started=[Started(generation.id, 0)])
            desk.process.lose()
            desk.process.become_ready()
        with pytest.raises(CrashingRequest):
            desk.generate("poison")

    run(story)


@pytest.mark.parametrize("sign_of_life", [StepOutput(STATS, [], [], [], []), Heartbeat()])
def test_whoever_hung_up_before_a_step_that_ended_is_no_suspect(sign_of_life: FromEngine) -> None:
    async def story() -> None:
        desk = Desk()
        for _ in range(2):
            async with desk.generate("innocent") as generation:
                desk.step(started=[Started(generation.id, 0)])
            desk.process.say(sign_of_life)
            desk.process.lose()
            desk.process.become_ready()
        desk.generate("innocent")

    run(story)


@pytest.mark.parametrize("way", ["finished", "failed", "rejected", "cancelled"])
def test_a_suspect_waits_until_the_one_before_it_has_left_the_engine(way: str) -> None:
    async def story() -> None:
        desk = Desk()
        lose_with(desk, "a", "b")
        desk.process.sent.clear()
        first, second = desk.generate("a"), desk.generate("b")
        assert [each.id for each in submitted(desk)] == [first.id]
        match way:
            case "finished":
                desk.step(finished=[Finished(first.id, "stop")])
            case "failed":
                desk.step(failed=[Failed(first.id, "internal_error", "why")])
            case "rejected":
                desk.process.say(Rejected(first.id, "invalid_request", "why"))
            case _:
                async with first:
                    pass
                assert len(submitted(desk)) == 1, "it may still be computed"
                desk.step()
        assert [each.id for each in submitted(desk)] == [first.id, second.id]
        desk.step(finished=[Finished(second.id, "stop")])
        assert desk.client.num_open == 0

    run(story)


def test_a_question_that_crashes_the_engine_twice_is_refused_the_third_time() -> None:
    async def ask(desk: Desk) -> None:
        await desk.client.tokenize("poison", add_special=True, parse_special=True)

    async def story() -> None:
        desk = Desk()
        for _ in range(2):
            asking = asyncio.create_task(ask(desk))
            await others()
            desk.process.lose()
            desk.process.become_ready()
            with pytest.raises(EngineDied):
                await asking
        with pytest.raises(CrashingRequest):
            await ask(desk)
        assert not desk.client._answers

    run(story)
