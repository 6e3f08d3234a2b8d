"""One request as its caller sees it, and as the engine gets it."""

import asyncio

import pytest

from gguf_server.errors import (
    RequestError,
)
from gguf_server.supervisor.generation import Delta
from gguf_server.supervisor.status import State
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Constraint,
    Finished,
    PromptPart,
    Rejected,
    SamplingParams,
    Started,
    Submit,
    TextDelta,
    ToEngine,
    TokenLogprob,
)
from tests.server.supervisor.desk import (
    Desk,
    others,
    run,
)


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
