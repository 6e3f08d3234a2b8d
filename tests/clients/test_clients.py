"""The clients that people have: each gets what plain HTTP gets, and its own kind of error."""

import json
from typing import Any

import pytest

from tests.clients.conftest import MODEL, Seen
from tests.clients.questions import (
    CHOICE,
    MAX_TOKENS,
    MESSAGES,
    SKY,
    TEXTS,
    TOOL,
    answered_call,
)
from tests.e2e.conftest import ServerUnderTest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOO_LONG = {
    "openai": "BadRequestError",
    "litellm": "ContextWindowExceededError",
    "langchain": "ContextOverflowError",
}


@pytest.fixture(params=["openai", "litellm", "langchain"])
def client(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


def chat(server: ServerUnderTest, **body: object) -> Any:
    """The same by plain HTTP."""
    asked = {"messages": MESSAGES, "temperature": 0, "max_tokens": MAX_TOKENS, **body}
    answer = server.post("v1/chat/completions", **asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(answer: Any) -> str:
    text = answer["choices"][0]["message"]["content"]
    assert text
    return str(text)


def test_a_chat_is_answered_and_counted(client: str, seen: Seen, server: ServerUnderTest) -> None:
    plain = chat(server)
    usage = plain["usage"]
    expected = [text_of(plain), usage["prompt_tokens"], usage["completion_tokens"]]
    assert seen(client)["whole"] == expected


def test_a_stream_adds_up_to_the_whole_answer(client: str, seen: Seen) -> None:
    assert seen(client)["stream"] == seen(client)["whole"]


def test_several_at_once_get_the_same(client: str, seen: Seen) -> None:
    text, *_ = seen(client)["whole"]
    assert seen(client)["at_once"] == [text] * 4


def test_a_forced_tool_is_called(client: str, seen: Seen, server: ServerUnderTest) -> None:
    plain = chat(server, tools=[TOOL], tool_choice=CHOICE, max_tokens=64)
    (call,) = plain["choices"][0]["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert arguments in ({"city": "Paris"}, {"city": "Rome"})
    assert seen(client)["tool"] == {"name": "get_weather", "arguments": arguments}


def test_a_streamed_call_is_put_together(client: str, seen: Seen) -> None:
    assert seen(client)["streamed_tool"] == seen(client)["tool"]


def test_what_a_tool_said_is_read(client: str, seen: Seen, server: ServerUnderTest) -> None:
    messages = answered_call(json.dumps(seen(client)["tool"]["arguments"]))
    plain = chat(server, messages=messages, tools=[TOOL], tool_choice="none")
    assert seen(client)["tool_answer"] == text_of(plain)


def test_a_model_of_pydantic_is_filled(client: str, seen: Seen, server: ServerUnderTest) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "Sky", "schema": SKY, "strict": True}}
    plain = json.loads(text_of(chat(server, response_format=form, max_tokens=64)))
    assert (set(plain), plain["clouds"] in range(3)) == ({"color", "clouds"}, True)
    assert seen(client)["structured"] == plain


def test_embeddings_come_as_numbers(client: str, seen: Seen, server: ServerUnderTest) -> None:
    plain = server.post("v1/embeddings", input=TEXTS).json()["data"]
    got = seen(client)["embeddings"]
    assert [len(vector) for vector in got] == [576] * len(TEXTS)
    for mine, each in zip(got, plain, strict=True):
        assert mine == pytest.approx(each["embedding"], abs=1e-6)


def test_a_prompt_that_is_too_long_is_known_as_such(client: str, seen: Seen) -> None:
    assert TOO_LONG[client] in seen(client)["too_long"]["raised"]
    assert "the context holds 2048" in seen(client)["too_long"]["message"]


def test_another_model_is_not_found(client: str, seen: Seen) -> None:
    assert "NotFoundError" in seen(client)["no_such_model"]["raised"]


@pytest.mark.parametrize("client", ["litellm", "langchain"])
def test_a_text_is_continued(client: str, seen: Seen, server: ServerUnderTest) -> None:
    body = {"prompt": "The sea is", "max_tokens": 8, "temperature": 0}
    plain = server.post("v1/completions", **body).json()["choices"][0]["text"]
    assert seen(client)["text"] == plain


def test_models_are_listed(seen: Seen) -> None:
    assert seen("openai")["models"] == [MODEL]


def test_langchain_fills_a_model_by_calling_it_too(seen: Seen) -> None:
    filled = seen("langchain")["structured_by_tool"]
    assert (filled["color"] in ("blue", "grey"), filled["clouds"] in range(3)) == (True, True)
