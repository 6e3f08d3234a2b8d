"""Log-probabilities of a chat answer, at once and streamed."""

import json
from typing import Any

import pytest

from tests.server.api.fakes import scored
from tests.server.api.sse import events_of

pytestmark = pytest.mark.anyio

HI = {"messages": [{"role": "user", "content": "hi"}]}


async def test_each_token_of_a_chat_answer_has_its_bytes_and_the_likeliest_ones(http, engine):
    engine.pieces = ["é"]
    answer = await http.post(
        "/v1/chat/completions", json={**HI, "logprobs": True, "top_logprobs": 2}
    )
    assert answer.json()["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [0xC3, 0xA9],
                "top_logprobs": [
                    {"token": "é", "logprob": -0.5, "bytes": [0xC3, 0xA9]},
                    {"token": "#1", "logprob": -2.0, "bytes": [35, 49]},
                ],
            }
        ],
        "refusal": None,
    }
    assert engine.submitted[0].sampling.num_logprobs == 2


async def test_without_being_asked_for_they_are_null(http, engine):
    answer = await http.post("/v1/chat/completions", json=HI)
    assert answer.json()["choices"][0]["logprobs"] is None
    assert engine.submitted[0].sampling.num_logprobs is None


async def test_an_empty_answer_has_no_tokens_but_logprobs(http, engine):
    engine.pieces = []
    answer = await http.post("/v1/chat/completions", json={**HI, "logprobs": True})
    assert answer.json()["choices"][0]["logprobs"] == {"content": [], "refusal": None}


async def test_tokens_that_are_no_whole_characters_are_escaped(http, engine):
    llama = "🦙".encode()
    engine.pieces = [llama[:2], llama[2:]]
    answer = await http.post("/v1/chat/completions", json={**HI, "logprobs": True})
    choice = answer.json()["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert [each["token"] for each in tokens] == ["\\xf0\\x9f", "\\xa6\\x99"]
    assert bytes(tokens[0]["bytes"] + tokens[1]["bytes"]).decode() == "🦙"
    assert choice["message"]["content"] == "🦙"


async def test_each_event_has_the_logprobs_of_its_tokens(http, accepting):
    body: dict[str, Any] = {**HI, "logprobs": True, "stream": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        generation = accepting.submitted[0].generation
        lines = answer.aiter_lines()
        generation.add("", 1, 0.0, [scored(b"\xc3")])
        _role, _, first, _ = [await anext(lines) for _ in range(4)]
        generation.add("é!", 2, 0.0, [scored(b"\xa9"), scored("!")])
        second = await anext(lines)
    assert [content_and_tokens(line) for line in (first, second)] == [
        ("", ["\\xc3"]),
        ("é!", ["\\xa9", "!"]),
    ]


def content_and_tokens(line: str) -> tuple[str, list[str]]:
    choice = json.loads(line.removeprefix("data: "))["choices"][0]
    return choice["delta"]["content"], [each["token"] for each in choice["logprobs"]["content"]]


async def test_a_stream_has_the_same_logprobs_as_the_whole_answer(http, engine):
    engine.pieces = ["a", "é", "日本"]
    asked = {**HI, "logprobs": True, "top_logprobs": 3}
    whole = (await http.post("/v1/chat/completions", json=asked)).json()["choices"][0]
    streamed = (await http.post("/v1/chat/completions", json={**asked, "stream": True})).text
    choices = [event["choices"][0] for event in events_of(streamed)]
    parts = [choice["logprobs"]["content"] for choice in choices if choice["logprobs"]]
    assert [each for part in parts for each in part] == whole["logprobs"]["content"]
