"""What is on the wire while an answer is made, and what happens when nobody reads it."""

import asyncio
import json
import logging
from collections.abc import Mapping

import httpx
import pytest

from gguf_server.api.stream import EventStream, json_text
from gguf_server.errors import EngineDied
from tests.server.api.fakes import FakeEngine, until
from tests.server.api.sse import events_in

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "hi"}
STREAM = {"prompt": "hi", "stream": True}
CHAT_STREAM = {"messages": [{"role": "user", "content": "hi"}], "stream": True}


async def test_a_stream_is_events_and_ends_with_done(http):
    answer = await http.post("/v1/completions", json=STREAM)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    *events, done = events_in(answer.text)
    assert done == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["text"] for event in events) == "Hello world"


async def test_the_log_tells_what_went_wrong_also_after_a_status_of_200(http, accepting, caplog):
    caplog.set_level(logging.INFO, "gguf_server.access")
    async with http.stream("POST", "/v1/completions", json=STREAM) as answer:
        await _fail_after_some_text(answer, accepting)
    await http.post("/v1/completions", json={})
    await http.post("/tokenize", json={"content": "a"})
    await until(lambda: len(caplog.messages) == 3)
    outcomes = [message.split(": ")[1].rpartition(",")[0] for message in caplog.messages]
    assert outcomes == ["200 engine_died", "400 invalid_request", "200"]


async def test_usage_is_null_in_all_events_but_its_own_and_absent_if_not_asked_for(http):
    asked = {**STREAM, "stream_options": {"include_usage": True}}
    *events, last, _ = events_in((await http.post("/v1/completions", json=asked)).text)
    assert {json.loads(event)["usage"] for event in events} == {None}
    assert json.loads(last)["usage"]["total_tokens"] == 12
    *events, _ = events_in((await http.post("/v1/completions", json=STREAM)).text)
    assert not any("usage" in json.loads(event) for event in events)


async def test_the_first_event_of_an_empty_answer_still_has_the_role(http, engine):
    engine.pieces = []
    answer = await http.post("/v1/chat/completions", json=CHAT_STREAM)
    first, last, done = events_in(answer.text)
    assert json.loads(first)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert json.loads(last)["choices"][0]["finish_reason"] == "stop"
    assert json.loads(last)["choices"][0]["delta"] == {}
    assert done == "[DONE]"


@pytest.mark.parametrize(
    "text", ["\n\r\n\n", 'data: "}]\\', "\x00\x1f\x7f", "\u0085\u2028\u2029", "日本 🦙", '{"text"}']
)
async def test_any_text_is_one_event_and_arrives_unchanged(http, engine, text):
    engine.pieces = [text]
    answer = await http.post("/v1/completions", json=STREAM)
    first = answer.text.splitlines()[0]  # splits at more than \n
    assert json.loads(first.removeprefix("data: "))["choices"][0]["text"] == text
    assert json.loads(json_text(text)) == text


async def test_headers_wait_until_the_engine_has_accepted(http, engine):
    engine.pieces = None
    async with asyncio.TaskGroup() as group:
        request = http.build_request("POST", "/v1/completions", json=STREAM)
        answering = group.create_task(http.send(request, stream=True))
        await until(lambda: engine.submitted)
        generation = engine.submitted[0].generation
        await asyncio.wait([answering], timeout=0.05)
        assert not answering.done()
        generation.accept(1)
        answer = await answering
        generation.finish("stop")
        await answer.aread()
    assert answer.status_code == 200


async def test_an_error_in_the_middle_is_the_last_event(http, accepting, server):
    async with http.stream("POST", "/v1/completions", json=STREAM) as answer:
        body = await _fail_after_some_text(answer, accepting)
    *_, last = events_in(body)
    assert json.loads(last)["error"]["code"] == "engine_died"
    assert "[DONE]" not in body
    assert server.errors == ["engine_died"]


async def _fail_after_some_text(answer: httpx.Response, engine: FakeEngine) -> str:
    generation = engine.submitted[0].generation
    generation.add("Hel", 1, 0.0)
    body = ""
    async for text in answer.aiter_text():
        body += text
        if "Hel" in body and not generation.is_over:
            generation.fail(EngineDied("it died"))
    return body


async def test_one_failed_sequence_of_several_ends_the_others(http, accepting):
    async with http.stream("POST", "/v1/completions", json={**STREAM, "n": 3}) as answer:
        accepting.submitted[1].generation.fail(EngineDied("it died"))
        body = (await answer.aread()).decode()
    assert "engine_died" in events_in(body)[-1]
    assert [each.cancelled for each in accepting.submitted] == [True, False, True]
    await until(lambda: "_stream_one" not in running_coroutines())


def running_coroutines() -> set[str]:
    return {str(getattr(task.get_coro(), "__name__", "")) for task in asyncio.all_tasks()}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_a_client_that_leaves_a_stream_cancels_it(http, accepting, path):
    body = CHAT_STREAM if "chat" in path else STREAM
    async with http.stream("POST", path, json={**body, "n": 2}):
        assert not any(each.left for each in accepting.submitted)
    await until(lambda: all(each.cancelled for each in accepting.submitted))


async def test_a_client_that_leaves_before_the_whole_answer_cancels_it(http, accepting):
    await _ask_and_leave(http, accepting, PROMPT)
    await until(lambda: accepting.submitted[0].cancelled)


@pytest.mark.parametrize("body", [PROMPT, STREAM])
async def test_a_client_that_leaves_before_it_is_accepted_cancels_it(http, engine, body):
    engine.pieces = None
    await _ask_and_leave(http, engine, body)
    await until(lambda: engine.submitted[0].cancelled)


async def _ask_and_leave(http, engine: FakeEngine, body: Mapping[str, object]) -> None:
    asking = asyncio.create_task(http.post("/v1/completions", json=body))
    await until(lambda: engine.submitted)
    asking.cancel()
    await asyncio.wait([asking])


async def test_who_leaves_is_no_error(http, accepting, server):
    await _ask_and_leave(http, accepting, PROMPT)
    await until(lambda: accepting.submitted[0].cancelled)
    assert server.errors == []


async def test_the_server_answers_others_after_a_client_has_left(http, accepting):
    await _ask_and_leave(http, accepting, PROMPT)
    await until(lambda: accepting.submitted[0].cancelled)
    assert (await http.get("/readyz")).status_code == 200


class Clock:
    """A loop whose time a test decides, and that tells when it was asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.was_asked = False

    def time(self) -> float:
        self.was_asked = True
        return self.now


async def test_silence_is_filled_with_comments_and_text_is_not(monkeypatch):
    sent: list[bytes] = []
    clock = Clock()

    async def send(message):
        sent.append(message.get("body"))

    stream = EventStream(send, keep_alive_seconds=0.01)
    monkeypatch.setattr(stream, "_loop", clock)
    async with stream:
        for _ in range(5):
            clock.now += 0.009
            await stream.write(b"data: x\n\n")
            clock.was_asked = False
            await until(lambda: clock.was_asked)
        assert sent[1:] == [b"data: x\n\n"] * 5
        clock.now += 0.01
        await until(lambda: len(sent) == 7)
        clock.now += 0.01
        await until(lambda: len(sent) == 8)
        await stream.end(b"data: [DONE]\n\n")
    assert sent[6:] == [b": keep-alive\n\n", b": keep-alive\n\n", b"data: [DONE]\n\n"]


async def test_each_piece_of_text_is_one_write_and_nothing_is_held_back(http, accepting):
    async with http.stream("POST", "/v1/completions", json=STREAM) as answer:
        lines = answer.aiter_lines()
        generation = accepting.submitted[0].generation
        for piece in ("a", "b", "c"):
            generation.add(piece, 1, 0.0)
            event = json.loads((await anext(lines)).removeprefix("data: "))
            assert event["choices"][0]["text"] == piece
            assert await anext(lines) == ""
