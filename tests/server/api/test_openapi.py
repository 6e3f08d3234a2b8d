"""The OpenAPI document says what we accept: no more and no less, as far as a schema can."""

from typing import Any

import jsonschema_rs
import pytest

pytestmark = pytest.mark.anyio

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "add"}}
CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@pytest.fixture
async def document(http) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get("/openapi.json")).json()
    return found


def allows(document: dict[str, Any], path: str, body: dict[str, Any]) -> bool:
    operation = document["paths"][path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.validator_for(whole).is_valid(body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": HI, "n": None, "user": "me", "metadata": {}, "store": False}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": "required"}),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": TOOL}),
        (CHAT, {"messages": HI, "stop": "a", "logit_bias": {"5": 1}, "function_call": "none"}),
        (CHAT, {"messages": HI, "response_format": {"type": "json_object", "schema": {"a": []}}}),
        (CHAT, {"messages": HI, "chat_template_kwargs": {"x": [1]}, "reasoning_effort": "low"}),
        (TEXT, {"prompt": "hi", "echo": True, "logprobs": 5, "max_tokens": 0, "best_of": 1}),
        (TEXT, {"prompt": ["a", "b"], "grammar": 'root ::= "a"'}),
        (TEXT, {"prompt": [1, 2], "suffix": None}),
        (TEXT, {"prompt": [[1], [2]], "stop": ["a", "b"]}),
        (EMBED, {"input": [[1], [2]], "encoding_format": "base64", "user": "me"}),
    ],
)
async def test_what_the_document_allows_is_accepted(http, document, path, body):
    assert allows(document, path, body)
    answer = await http.post(path, json=body)
    assert answer.status_code == 200 or "--embeddings" in answer.text, answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": HI, "temprature": 1}),
        (CHAT, {"messages": HI, "store": True}),
        (CHAT, {"messages": HI, "functions": [{}]}),
        (CHAT, {"messages": None}),
        (CHAT, {"messages": HI, "tools": [{"type": "function", "function": {"name": "a b"}}]}),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": "any"}),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": {**TOOL, "x": 1}}),
        (CHAT, {"messages": HI, "logprobs": True, "top_logprobs": 21}),
        (CHAT, {"messages": HI, "logit_bias": {"the": 1}}),
        (CHAT, {"messages": HI, "stop": ["a"] * 17}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        (TEXT, {"prompt": []}),
        (TEXT, {"prompt": [[1], []]}),
        (TEXT, {"prompt": ["a", 1]}),
        (TEXT, {"prompt": "a", "best_of": 2}),
        (TEXT, {"prompt": "a", "max_tokens": -1}),
        (EMBED, {"input": ["a"] * 2049}),
        (EMBED, {"input": "a", "dimensions": 0}),
    ],
)
async def test_what_the_document_forbids_is_a_400(http, document, path, body):
    assert not allows(document, path, body)
    assert (await http.post(path, json=body)).status_code == 400


async def test_errors_are_documented_as_they_are(http, document):
    answer = await http.post(CHAT, json={})
    responses = document["paths"][CHAT]["post"]["responses"]
    assert "422" not in responses
    schema = responses["default"]["content"]["application/json"]["schema"]
    assert jsonschema_rs.validator_for(schema).is_valid(answer.json())
