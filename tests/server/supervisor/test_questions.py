"""Questions that no sequence answers: tokens, texts, embeddings."""

import asyncio

import pytest

from gguf_server.errors import (
    EngineDied,
    EngineUnavailable,
    InvalidRequest,
)
from gguf_server.wire.messages import (
    Cancel,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    Rejected,
    Tokenize,
    Tokenized,
)
from tests.server.supervisor.desk import (
    Desk,
    others,
    run,
)


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


def test_questions_fail_when_the_engine_is_lost_and_the_log_counts_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        desk = Desk()
        asking = [asyncio.create_task(desk.client.detokenize((each,))) for each in range(3)]
        await others()
        desk.process.lose()
        for each in asking:
            with pytest.raises(EngineDied, match="SIGKILL"):
                await each
        assert not desk.client._answers
        assert "requests lost with the engine: 3" in caplog.text

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
