"""Tool calls and reasoning: what parsers find in the output, in OpenAI's shapes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from gguf_server.api import chat
from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.output import OutputParser
from gguf_server.wire.messages import Constraint
from tests.server.api.fakes import FACTS, READY, FakeEngine, TagParser
from tests.server.api.sse import events_of

pytestmark = pytest.mark.anyio

HI = [{"role": "user", "content": "hi"}]
ADD = {"type": "function", "function": {"name": "add"}}
WITH_TOOLS = {"messages": HI, "tools": [ADD]}


class FakeDialect:
    name = "fake"
    show_special = True

    def __init__(self) -> None:
        self.uses: list[ToolUse] = []

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:
        assert prompt.endswith("<assistant>")
        self.uses.append(use)
        return TagParser()

    def constraint(
        self, prompt: str, use: ToolUse, response: Constraint | None
    ) -> Constraint | None:
        return Constraint("lark", "calls", "tools") if use.choice == "required" else response


@pytest.fixture(autouse=True)
def dialect(monkeypatch: pytest.MonkeyPatch) -> FakeDialect:
    fake = FakeDialect()
    monkeypatch.setattr(chat, "dialect_of", lambda template, special_tokens: fake)
    return fake


async def ask(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """The choice of an answer."""
    answer = await http.post("/v1/chat/completions", json={**WITH_TOOLS, **body})
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


async def stream(http: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    """The choices of all events."""
    answer = await http.post("/v1/chat/completions", json={**WITH_TOOLS, **body, "stream": True})
    assert answer.status_code == 200, answer.text
    return [event["choices"][0] for event in events_of(answer.text)]


async def say_one_by_one(
    http: httpx.AsyncClient, engine: FakeEngine, pieces: Sequence[str]
) -> list[dict[str, Any]]:
    """The choices of a stream whose text comes so slowly that each piece is a delta."""
    body = {**WITH_TOOLS, "stream": True}
    events = []
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        generation = engine.submitted[0].generation
        for piece in pieces:
            generation.add(piece, 1, 0.0)
            events.append(await anext(lines))
            await anext(lines)
        generation.finish("stop")
        events += [line async for line in lines if line.startswith("data: {")]
    return [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]


async def test_a_call_is_a_call_and_the_answer_ends_with_it(http, engine):
    engine.pieces = ['<call>{"a": 1}</call>']
    choice = await ask(http)
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "add", "arguments": '{"a": 1}'},
            }
        ],
    }
    assert choice["finish_reason"] == "tool_calls"


async def test_text_beside_calls_is_content_and_thoughts_are_reasoning(http, engine):
    engine.pieces = ["<think>hm</think>I add.", "<call>{}</call><call>{}</call>"]
    choice = await ask(http)
    message = choice["message"]
    assert message["reasoning_content"] == "hm"
    assert message["content"] == "I add."
    assert [call["id"] for call in message["tool_calls"]] == ["call_1", "call_2"]


async def test_an_answer_without_calls_or_thoughts_has_no_such_fields(http):
    message = (await ask(http))["message"]
    assert set(message) == {"role", "content", "refusal"}


async def test_an_answer_that_is_cut_off_says_length_though_it_has_calls(http, engine):
    engine.pieces = ["<call>{}</call>"]
    engine.finish_reason = "length"
    assert (await ask(http))["finish_reason"] == "length"
    assert (await stream(http))[-1]["finish_reason"] == "length"


async def test_what_the_parser_held_back_is_sent_at_the_end(http, engine):
    engine.pieces = ["a<ca"]
    assert (await ask(http))["message"]["content"] == "a<ca"
    choices = await stream(http)
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "a<ca"


async def test_a_stream_tells_of_each_piece_as_it_becomes_certain(http, accepting):
    pieces = ["<think>hm</think>", "text", "<call>{}</call>", '<call>{"a": 1}</call>']
    choices = await say_one_by_one(http, accepting, pieces)
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [choice["delta"] for choice in choices[1:]]
    assert deltas == [
        {"reasoning_content": "hm"},
        {"content": "text"},
        {"tool_calls": [call(0, "call_1", "{}")]},
        {"tool_calls": [call(1, "call_2", '{"a": 1}')]},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices[-2:]] == [None, "tool_calls"]


def call(index: int, call_id: str, arguments: str) -> dict[str, Any]:
    function = {"name": "add", "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


async def test_each_of_n_answers_has_a_parser_of_its_own(http, engine):
    engine.pieces = ["<think>a</think>b"]
    answer = await http.post("/v1/chat/completions", json={**WITH_TOOLS, "n": 2})
    messages = [choice["message"] for choice in answer.json()["choices"]]
    assert [message["reasoning_content"] for message in messages] == ["a", "a"]


async def test_logprobs_cover_what_the_parser_hides_too(http, engine):
    engine.pieces = ["<think>", "hm", "</think>", "x"]
    choice = await ask(http, logprobs=True)
    tokens = [each["token"] for each in choice["logprobs"]["content"]]
    assert tokens == engine.pieces
    choices = await stream(http, logprobs=True)
    streamed = [each for choice in choices if choice["logprobs"] for each in
                choice["logprobs"]["content"]]  # fmt: skip
    assert streamed == choice["logprobs"]["content"]


async def test_the_dialect_decides_on_constraint_and_control_tokens(http, engine, dialect):
    await ask(http, response_format={"type": "json_object"})
    await ask(http, tool_choice="required")
    own, required = engine.submitted
    assert (own.constraint.kind, own.constraint.param) == ("json_schema", "response_format")
    assert required.constraint == Constraint("lark", "calls", "tools")
    assert own.show_special
    assert [use.choice for use in dialect.uses] == ["auto", "required"]


KNOWS_TOOLS = (
    '{# <tool_call> "arguments": #}{% for tool in tools or [] %}[{{ tool.function.name }}]'
    "{% endfor %}{{ enable_thinking }} {{ style }} {{ messages[0].content }}<assistant>"
)


@pytest.fixture
def knowing(engine: FakeEngine) -> FakeEngine:
    """Its template shows tools and variables."""
    facts = msgspec.structs.replace(FACTS, chat_template=KNOWS_TOOLS)
    engine.status = replace(READY, facts=facts)
    return engine


async def test_the_template_is_told_of_tools_and_variables(http, knowing):
    variables = {"style": "terse", "enable_thinking": True}
    await ask(http, chat_template_kwargs=variables)
    await ask(http, tool_choice="none", reasoning_effort="none")
    told, not_told = knowing.submitted
    assert told.prompt == "[add]True terse hi<assistant>"
    assert not_told.prompt == "False  hi<assistant>"


async def test_a_variable_of_the_servers_own_is_a_400(http, knowing):
    body = {**WITH_TOOLS, "chat_template_kwargs": {"messages": []}}
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "chat_template_kwargs"
    assert not knowing.submitted
