"""Text to token ids and back, as llama-server does it."""

import pytest

pytestmark = pytest.mark.anyio


async def test_text_becomes_tokens_and_tokens_become_text(http):
    tokens = (await http.post("/tokenize", json={"content": "hi"})).json()
    assert tokens == {"tokens": [104, 105]}
    assert (await http.post("/detokenize", json=tokens)).json() == {"content": "hi"}


async def test_special_tokens_are_added_on_request(http):
    answer = await http.post("/tokenize", json={"content": "hi", "add_special": True})
    assert answer.json() == {"tokens": [1, 104, 105]}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"content": "hi", "text": "hi"}, "text"),
        ("/tokenize", {"content": 5}, "content"),
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
