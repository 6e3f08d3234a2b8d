"""Text to token ids and back, as llama-server and vLLM do it."""

from dataclasses import replace

import msgspec
import pytest

from tests.server.api.fakes import MODEL_NAME, TEMPLATE

pytestmark = pytest.mark.anyio


async def test_text_becomes_tokens_and_tokens_become_text(http):
    tokens = (await http.post("/tokenize", json={"content": "hi"})).json()
    assert tokens["tokens"] == [104, 105]
    text = (await http.post("/detokenize", json={"tokens": [104, 105]})).json()
    assert text == {"content": "hi", "prompt": "hi"}


async def test_special_tokens_are_added_on_request(http):
    answer = await http.post("/tokenize", json={"content": "hi", "add_special": True})
    assert answer.json()["tokens"] == [1, 104, 105]


async def test_vllms_clients_get_special_tokens_unless_they_decline_and_the_count(http, engine):
    answer = (await http.post("/tokenize", json={"prompt": "hi", "model": MODEL_NAME})).json()
    limit = engine.status.facts.context_tokens
    assert answer == {"tokens": [1, 104, 105], "count": 3, "max_model_len": limit}
    body = {"prompt": "hi", "add_special_tokens": False}
    assert (await http.post("/tokenize", json=body)).json()["tokens"] == [104, 105]


async def test_a_tokenizer_tells_its_marks_and_null_where_it_has_none(http, engine):
    facts = msgspec.structs.replace(engine.status.facts, eos_token="")
    engine.status = replace(engine.status, facts=facts)
    told = (await http.get("/tokenizer_info")).json()
    assert told == {"bos_token": "<s>", "eos_token": None, "chat_template": TEMPLATE}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"content": "hi", "text": "hi"}, "text"),
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": "hi", "prompt": "hi"}, "prompt"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [True]}, "tokens[0]"),
        ("/detokenize", {"tokens": [10**30]}, "tokens[0]"),
        ("/detokenize", {"tokens": [10**6]}, None),
    ],
)
async def test_what_is_neither_is_a_400(http, path, body, param):
    answer = await http.post(path, json=body)
    assert answer.status_code == 400
    if param is not None:
        assert param in answer.json()["error"]["message"]
