"""What most users have: the official client, against a real server."""

import asyncio
import json
from dataclasses import replace

import msgspec
import openai
import pydantic
import pytest

from gguf_server.errors import ContextLengthExceeded, EngineDied, InvalidRequest
from tests.server.api.fakes import FACTS, MODEL_NAME, READY, Server, until

pytestmark = pytest.mark.anyio

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client(server: Server):
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=30
    ) as client:
        yield client


async def test_chat_answers_with_text_reason_and_usage(client, engine):
    answer = await client.chat.completions.create(model=MODEL_NAME, messages=HI)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL_NAME
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "Hello world"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 2)
    assert answer.usage.total_tokens == 12
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert engine.submitted[0].prompt == "<user>hi\n<assistant>"


async def test_chat_streams_the_role_first_then_text_then_the_reason(client, engine):
    engine.finish_reason = "length"
    stream = await client.chat.completions.create(model=MODEL_NAME, messages=HI, stream=True)
    events = [event async for event in stream]
    assert {event.object for event in events} == {"chat.completion.chunk"}
    assert len({event.id for event in events}) == 1
    assert events[0].choices[0].delta.role == "assistant"
    assert all(event.choices[0].delta.role is None for event in events[1:])
    assert "".join(event.choices[0].delta.content or "" for event in events) == "Hello world"
    assert [event.choices[0].finish_reason for event in events][-2:] == [None, "length"]
    assert all(event.usage is None for event in events)


async def test_a_stream_ends_with_the_usage_if_asked_for(client):
    stream = await client.chat.completions.create(
        model=MODEL_NAME, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    *others, last = [event async for event in stream]
    assert last.choices == []
    assert last.usage.total_tokens == 12
    assert last.usage.prompt_tokens_details.cached_tokens == 3
    assert all(event.usage is None for event in others)


async def test_text_completion_answers_and_streams(client, engine):
    answer = await client.completions.create(model=MODEL_NAME, prompt="Once", max_tokens=5)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "Hello world"
    stream = await client.completions.create(model=MODEL_NAME, prompt=[5, 6], stream=True)
    assert "".join([event.choices[0].text async for event in stream]) == "Hello world"
    assert [each.prompt for each in engine.submitted] == ["Once", (5, 6)]
    assert engine.submitted[0].max_tokens == 5


async def test_n_sequences_have_their_own_seeds_and_one_prompt_in_the_usage(client, engine):
    answer = await client.chat.completions.create(model=MODEL_NAME, messages=HI, n=3, seed=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [each.sampling.seed for each in engine.submitted] == [0, 1, 2]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 6)


async def test_n_streams_interleave_as_their_text_comes(client, engine):
    engine.pieces = None
    asked = client.chat.completions.create(model=MODEL_NAME, messages=HI, n=2, stream=True)
    events = await _drive(asked, engine)
    texts = [(event.choices[0].index, event.choices[0].delta.content) for event in events]
    assert [text for text in texts if text[1]] == [(1, "b"), (0, "a"), (1, "B"), (0, "A")]


async def _drive(asked, engine):
    task = asyncio.create_task(_collect(asked))
    await until(lambda: len(engine.submitted) == 2)
    first, second = (each.generation for each in engine.submitted)
    first.accept(1)
    second.accept(1)
    for generation, text in ((second, "b"), (first, "a"), (second, "B"), (first, "A")):
        await _say(generation, text)
    first.finish("stop")
    second.finish("stop")
    return await task


async def _say(generation, text):
    generation.add(text, 1, 0.0)
    await until(lambda: not generation._text)


async def _collect(asked):
    return [event async for event in await asked]


async def test_a_refused_request_is_an_error_of_its_kind(client, engine):
    engine.rejection = ContextLengthExceeded("5000 prompt tokens, the context holds 4096")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL_NAME, messages=HI, stream=True)
    assert caught.value.code == "context_length_exceeded"
    assert "4096" in caught.value.message


async def test_another_model_is_an_error_that_names_the_one_that_is_served(client):
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-4o", messages=HI)
    assert caught.value.code == "model_not_found"
    assert MODEL_NAME in caught.value.message


async def test_an_engine_that_dies_in_the_middle_of_a_stream_is_one_error(client, engine, server):
    engine.pieces = None
    stream_of = client.chat.completions.create(model=MODEL_NAME, messages=HI, stream=True)
    with pytest.raises(openai.APIError, match="lost with it"):
        await _fail_midway(stream_of, engine)
    assert server.errors == ["engine_died"]


async def _fail_midway(asked, engine):
    task = asyncio.ensure_future(asked)
    await until(lambda: engine.submitted)
    generation = engine.submitted[0].generation
    generation.accept(1)
    stream = await task
    generation.add("Hel", 1, 0.0)
    async for event in stream:
        if event.choices[0].delta.content == "Hel":
            generation.fail(EngineDied("the engine died; this request was lost with it"))


# --- structured output ---------------------------------------------------------------------------


class Sum(pydantic.BaseModel):
    a: int
    b: int


async def test_an_answer_is_parsed_into_the_model_that_was_asked_for(client, engine):
    engine.pieces = ['{"a": 1,', ' "b": 2}']
    answer = await client.chat.completions.parse(model=MODEL_NAME, messages=HI, response_format=Sum)
    assert answer.choices[0].message.parsed == Sum(a=1, b=2)
    constraint = engine.submitted[0].constraint
    assert (constraint.kind, constraint.param) == ("json_schema", "response_format")
    schema = json.loads(constraint.text)
    assert schema["required"] == ["a", "b"]
    assert schema["additionalProperties"] is False


async def test_a_stream_is_parsed_as_it_comes(client, engine):
    engine.pieces = ['{"a": 1,', ' "b": 2}']
    async with client.chat.completions.stream(
        model=MODEL_NAME, messages=HI, response_format=Sum
    ) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.parsed == Sum(a=1, b=2)


async def test_a_schema_that_the_engine_refuses_is_the_clients_error(client, engine):
    engine.rejection = InvalidRequest("it allows nothing", param="response_format")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model=MODEL_NAME, messages=HI, response_format={"type": "json_object"}, stream=True
        )
    assert caught.value.param == "response_format"


# --- tools ---------------------------------------------------------------------------------------

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds two numbers",
            "parameters": Sum.model_json_schema(),
        },
    }
]
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


async def test_a_tool_is_called_and_its_result_goes_back(client, engine):
    engine.pieces = ["I add.", CALL]
    answer = await client.chat.completions.create(model=MODEL_NAME, messages=HI, tools=TOOLS)
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I add."
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "add")
    assert json.loads(call.function.arguments) == {"a": 1, "b": 2}

    engine.pieces = ["3"]
    result = {"role": "tool", "tool_call_id": call.id, "content": "3"}
    answer = await client.chat.completions.create(
        model=MODEL_NAME, messages=[*HI, choice.message, result], tools=TOOLS
    )
    assert answer.choices[0].message.content == "3"
    assert answer.choices[0].message.tool_calls is None


async def test_calls_are_streamed(client, engine):
    engine.pieces = list(f"I add.{CALL}")
    async with client.chat.completions.stream(model=MODEL_NAME, messages=HI, tools=TOOLS) as stream:
        answer = await stream.get_final_completion()
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I add.")
    [call] = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"a": 1, "b": 2}


async def test_a_tool_that_does_not_exist_cannot_be_chosen(client):
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model=MODEL_NAME,
            messages=HI,
            tools=TOOLS,
            tool_choice={"type": "function", "function": {"name": "sub"}},
        )
    assert caught.value.param == "tool_choice"


# --- log-probabilities ---------------------------------------------------------------------------


async def test_chat_logprobs_are_what_the_client_expects(client):
    answer = await client.chat.completions.create(
        model=MODEL_NAME, messages=HI, logprobs=True, top_logprobs=2
    )
    first, second = answer.choices[0].logprobs.content
    assert (first.token, first.logprob, bytes(first.bytes)) == ("Hello", -0.5, b"Hello")
    assert [top.token for top in second.top_logprobs] == [" world", "#1"]


async def test_text_logprobs_are_what_the_client_expects(client):
    answer = await client.completions.create(
        model=MODEL_NAME, prompt="hi", logprobs=1, echo=True, max_tokens=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs.tokens == ["h", "i", "Hello", " world"]
    assert logprobs.token_logprobs == [None, -0.25, -0.5, -0.5]
    assert logprobs.text_offset == [0, 1, 2, 7]
    assert logprobs.top_logprobs[0] is None


# --- embeddings ----------------------------------------------------------------------------------


@pytest.fixture
def embedding_engine(engine):
    engine.status = replace(READY, facts=msgspec.structs.replace(FACTS, embedding_size=3))
    return engine


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
async def test_embeddings_come_back_as_numbers(client, embedding_engine, options):
    answer = await client.embeddings.create(model=MODEL_NAME, input=["a", "bb"], **options)
    assert [item.embedding for item in answer.data] == [
        pytest.approx([length, -0.5, 0.1]) for length in (1, 2)
    ]
    assert answer.usage.prompt_tokens == 3


async def test_without_embeddings_the_error_says_what_to_do(client):
    with pytest.raises(openai.BadRequestError, match="--embeddings"):
        await client.embeddings.create(model=MODEL_NAME, input="a")


# --- models and many -----------------------------------------------------------------------------


async def test_models_are_listed_and_found(client):
    assert [model.id async for model in client.models.list()] == [MODEL_NAME]
    assert (await client.models.retrieve(MODEL_NAME)).owned_by == "gguf-server"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


async def test_sixteen_streams_at_once(client, engine):
    engine.pieces = [f"{number} " for number in range(50)]

    async def one() -> str:
        stream = await client.chat.completions.create(model=MODEL_NAME, messages=HI, stream=True)
        return "".join([event.choices[0].delta.content or "" async for event in stream])

    texts = await asyncio.gather(*(one() for _ in range(16)))
    assert set(texts) == {"".join(engine.pieces)}
