"""The official client's tour through the API, against the real server and the real model."""

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import openai
import pydantic
import pytest

from tests.e2e.conftest import ServerUnderTest

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]


class Animal(pydantic.BaseModel):
    """What an answer is parsed to."""

    model_config = pydantic.ConfigDict(extra="forbid")

    species: Literal["cat", "dog"]
    legs: Literal[2, 4]
    tame: bool


@pytest.fixture(scope="module")
def tour() -> Iterator[ServerUnderTest]:
    server = ServerUnderTest(
        "--embeddings", "on", "--context", "2048", "--max-batch-tokens", "32", "--slots", "4"
    )
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture
def client(tour: ServerUnderTest) -> Iterator[Any]:
    """Of type Any: its overloads want literals where the tests have tables."""
    with openai.OpenAI(base_url=f"{tour.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture
def model(client: Any) -> str:
    return str(client.models.list().data[0].id)


def test_a_chat_streams_what_it_answers_whole(client: Any, model: str) -> None:
    ask = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**ask)
    events = list(
        client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == whole.choices[0].message.content
    assert events[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_an_answer_is_parsed_into_the_type_that_was_asked_for(client: Any, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "Describe a dog."}],
        response_format=Animal,
        max_tokens=200,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(answer.choices[0].message.parsed, Animal)


def test_a_json_object_is_one(client: Any, model: str) -> None:
    answer = client.completions.create(
        model=model,
        prompt="A pet as JSON:",
        extra_body={"grammar": 'root ::= "{\\"legs\\": " [0-9] "}"'},
    )
    assert 0 <= json.loads(answer.choices[0].text)["legs"] <= 9


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_tool_that_must_be_called_is_called_with_arguments_of_its_schema(
    client: Any, model: str, choice: object, stream: bool
) -> None:
    tools = [WEATHER] if choice == "required" else [WEATHER, TIME]
    ask = {"model": model, "messages": QUESTION, "tools": tools, "tool_choice": choice}
    ask |= {"parallel_tool_calls": False, "max_tokens": 200, "temperature": 0}
    if stream:
        with client.chat.completions.stream(**ask) as events:
            for _ in events:
                pass
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(**ask)
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in ("celsius", "fahrenheit")

    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    turn = {"role": "assistant", "tool_calls": [call.model_dump(exclude={"index"})]}
    answer = client.chat.completions.create(
        model=model, messages=[*QUESTION, turn, result], tools=tools, max_tokens=16
    )
    assert answer.usage.completion_tokens > 0


def test_tools_are_not_called_when_the_choice_is_none(client: Any, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, tools=[WEATHER], tool_choice="none", max_tokens=16
    )
    assert not answer.choices[0].message.tool_calls


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_with_their_tokens(client: Any, model: str, stream: bool) -> None:
    ask = {"model": model, "messages": QUESTION, "max_tokens": 12, "temperature": 0}
    answer = client.chat.completions.create(**ask, logprobs=True, top_logprobs=3, stream=stream)
    if stream:
        choices = [event.choices[0] for event in answer]
        text = "".join(choice.delta.content or "" for choice in choices)
        tokens = [token for each in choices if each.logprobs for token in each.logprobs.content]
    else:
        text = answer.choices[0].message.content
        tokens = answer.choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == text
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob, "temperature 0 takes the likeliest"
        assert sum(math.exp(each.logprob) for each in token.top_logprobs) <= 1.0001


def test_log_likelihoods_of_given_texts_are_those_of_generating_them(
    client: Any, model: str
) -> None:
    """What evaluation harnesses do: echo, logprobs, token arrays, one token at most."""
    ask = {"model": model, "temperature": 0, "logprobs": 1}
    prompts = ["The capital of France is", "Water boils at"]
    written = client.completions.create(**ask, prompt=prompts, max_tokens=8)
    texts = [prompt + each.text for prompt, each in zip(prompts, written.choices, strict=True)]
    url = str(client.base_url).removesuffix("v1/")
    ids = [
        client.post(f"{url}tokenize", body={"content": text, "add_special": True}, cast_to=object)
        for text in texts
    ]
    echoed = client.completions.create(
        **ask, prompt=[each["tokens"] for each in ids], max_tokens=1, echo=True
    )
    for given, answer, text in zip(written.choices, echoed.choices, texts, strict=True):
        scored = answer.logprobs
        assert scored.token_logprobs[0] is None
        assert "".join(scored.tokens[:-1]) == text
        count = len(given.logprobs.tokens)
        found = scored.token_logprobs[-1 - count : -1]
        assert found == pytest.approx(given.logprobs.token_logprobs, abs=1e-3)
        start = scored.text_offset[-1 - count]
        assert answer.text[start:].startswith(given.text)


def test_embeddings_of_near_texts_are_near(client: Any, model: str) -> None:
    inputs = ["a small cat", "a little kitten", "the national debt of Japan"]
    answer = client.embeddings.create(model=model, input=inputs)
    cat, kitten, debt = (each.embedding for each in answer.data)
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert math.hypot(*cat) == pytest.approx(1, abs=1e-5)
    assert np.dot(cat, kitten) > np.dot(cat, debt)
    floats = client.embeddings.create(model=model, input=inputs[0], encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(cat, abs=1e-4)
    short = client.embeddings.create(model=model, input=inputs[0], dimensions=64)
    assert len(short.data[0].embedding) == 64


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {
            "name": "x", "schema": {"type": "integer", "minimum": 2, "maximum": 1}}}},
         "response_format"),
        ({"extra_body": {"grammar": "root ::= nowhere"}}, "grammar"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_400_that_names_the_field_and_stops_nothing(
    client: Any, model: str, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=QUESTION, stream=True, **change)
    assert caught.value.param is not None
    assert caught.value.param.startswith(param)
    assert client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1)


def test_another_models_name_is_a_404(client: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
