"""Embeddings: every form of input, both encodings, and no more at once than others can bear."""

import asyncio
import base64
import struct
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from tests.server.api.fakes import FACTS, READY, FakeEngine, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine() -> FakeEngine:
    """Its vectors begin with the length of their input."""
    engine = FakeEngine()
    engine.status = replace(READY, facts=msgspec.structs.replace(FACTS, embedding_size=3))
    return engine


async def embed(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(http: httpx.AsyncClient, status: int, **body: Any) -> dict[str, str]:
    answer = await http.post("/v1/embeddings", json=body)
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    return error


async def test_an_embedding_is_a_list_of_numbers(http):
    answer = await embed(http, input="four", user="me", model=None)
    [item] = answer["data"]
    assert (answer["object"], item["object"], item["index"]) == ("list", "embedding", 0)
    assert item["embedding"] == pytest.approx([4, -0.5, 0.1])
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


async def test_base64_is_the_same_numbers_as_little_endian_floats(http):
    [item] = (await embed(http, input="four", encoding_format="base64"))["data"]
    numbers = struct.unpack("<3f", base64.b64decode(item["embedding"]))
    assert numbers == pytest.approx((4, -0.5, 0.1))


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("abc", ["abc"]),
        (["a", "bb"], ["a", "bb"]),
        ([7, 8], [(7, 8)]),
        ([[7], [8, 9]], [(7,), (8, 9)]),
    ],
)
async def test_inputs_of_all_forms_are_embedded(http, engine, value, inputs):
    answer = await embed(http, input=value)
    assert engine.embedded == inputs
    assert len(answer["data"]) == len(inputs)


async def test_2048_inputs_are_answered_in_order_and_few_at_once(http, engine):
    engine.free_places = 9
    lengths = [1 + number % 13 for number in range(2048)]
    answer = await embed(http, input=["x" * length for length in lengths])
    assert [item["index"] for item in answer["data"]] == list(range(2048))
    assert [item["embedding"][0] for item in answer["data"]] == lengths
    assert answer["usage"]["total_tokens"] == sum(lengths)
    assert 1 < engine.most_embedding <= FACTS.slots


async def test_one_more_is_too_many(http):
    error = await refused(http, 400, input=["x"] * 2049)
    assert "2048" in error["message"]


async def test_a_request_that_has_begun_waits_for_places_that_others_take(http, engine):
    engine.free_places = 1
    answer = await embed(http, input=["a"] * 20)
    assert len(answer["data"]) == 20


async def test_a_request_for_which_there_is_no_place_at_all_comes_again(http, engine):
    engine.free_places = 0
    assert (await refused(http, 429, input=["a", "b"]))["code"] == "queue_full"


async def test_dimensions_are_the_engines_business(http):
    [item] = (await embed(http, input="four", dimensions=2))["data"]
    assert len(item["embedding"]) == 2


async def test_the_input_that_the_engine_refuses_is_named(http):
    error = await refused(http, 400, input=["a", "b", "", "c"])
    assert error["param"] == "input[2]"
    assert error["message"] == "input[2]: the input is empty"
    assert (await refused(http, 400, input=""))["param"] == "input"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a", 5]}, "input"),
        ({"input": {"a": "b"}}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "prompt": "a"}, "prompt"),
    ],
)
async def test_what_is_no_request_is_a_400_that_names_the_field(http, body, param):
    assert (await refused(http, 400, **body))["param"] == param


async def test_a_server_without_embeddings_says_how_to_get_them(http, engine):
    engine.status = READY
    error = await refused(http, 400, input="a")
    assert "start the server with --embeddings" in error["message"]
    assert not engine.embedded


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
async def test_a_model_that_only_embeds_says_so_when_it_shall_write(http, engine, path, body):
    facts = msgspec.structs.replace(FACTS, embedding_size=3, generates=False, chat_template=None)
    engine.status = replace(READY, facts=facts)
    answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert "/v1/embeddings" in answer.json()["error"]["message"]


async def test_a_client_that_leaves_ends_what_it_asked_for(http, engine):
    engine.embed_gate.clear()
    asking = asyncio.create_task(http.post("/v1/embeddings", json={"input": ["a"] * 100}))
    await until(lambda: engine.num_embedding == FACTS.slots)
    asking.cancel()
    await asyncio.wait([asking])
    await until(lambda: engine.num_embedding == 0)
    assert len(engine.embedded) == FACTS.slots
