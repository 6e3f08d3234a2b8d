"""Every error has one status, OpenAI's envelope, and is counted once."""

from dataclasses import replace

import httpx
import msgspec
import pytest

from gguf_server.api.errors import STATUS
from gguf_server.errors import ChatTemplateError, QueueFull, RequestError
from tests.server.api.fakes import FACTS, LOADING, READY

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "hi"}


def test_the_table_has_a_status_for_every_error_and_no_other():
    assert set(STATUS) == {error.code for error in RequestError.__subclasses__()}


def assert_error(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (key,) = answer.json()
    assert key == "error"
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert "\n" not in error["message"]
    return error


async def test_an_unknown_path_is_not_found(http, server):
    error = assert_error(await http.get("/v1/nothing"), 404, "not_found")
    assert "/v1/nothing" in error["message"]
    assert server.errors == ["not_found"]


async def test_a_wrong_method_says_which_are_right(http):
    answer = await http.get("/v1/completions")
    assert_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b"[" * 100_000,
        b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b'{"prompt": "x", "temperature": NaN}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": ["\\ud800"]}',
        b'{"prompt": "x", "stop": "\\ud800"}',
        b'{"prompt": "x", "\\ud800": 1}',
        b'{"prompt": "x", "logit_bias": {"\\ud800": 1}}',
        b'{"prompt": "x", "n": "\\ud800"}',
    ],
)
async def test_a_body_that_is_no_request_is_a_400(http, server, body):
    headers = {"content-type": "application/json"}
    answer = await http.post("/v1/completions", content=body, headers=headers)
    error = assert_error(answer, 400, "invalid_request")
    assert error["type"] == "invalid_request_error"
    assert server.errors == ["invalid_request"]


@pytest.mark.parametrize("content", ["\\ud83d", "a \\udd99 b"])
async def test_half_a_character_is_a_400(http, content):
    headers = {"content-type": "application/json"}
    message = '{"role": "user", "content": "' + content + '"}'
    for path, body in [
        ("/v1/chat/completions", '{"messages": [' + message + "]}"),
        ("/v1/completions", '{"prompt": "' + content + '"}'),
        ("/tokenize", '{"content": "' + content + '"}'),
    ]:
        answer = await http.post(path, content=body.encode(), headers=headers)
        error = assert_error(answer, 400, "invalid_request")
        assert "half a character" in error["message"]
        assert error["param"] in ("messages[0].content", "prompt", "content")


async def test_a_deep_prompt_is_refused_like_any_other(http):
    body = b'{"prompt": ' + b"[" * 900 + b"]" * 900 + b"}"
    headers = {"content-type": "application/json"}
    answer = await http.post("/v1/completions", content=body, headers=headers)
    assert assert_error(answer, 400, "invalid_request")["param"] == "prompt"


async def test_a_body_of_another_type_is_told_what_to_be(http):
    answer = await http.post("/v1/completions", data={"prompt": "x"})
    error = assert_error(answer, 400, "invalid_request")
    assert "application/json" in error["message"]


async def test_a_validation_error_names_its_parameter(http):
    answer = await http.post("/v1/completions", json={**PROMPT, "temperature": 3})
    assert assert_error(answer, 400, "invalid_request")["param"] == "temperature"


async def test_another_model_is_not_found(http):
    answer = await http.post("/v1/completions", json={**PROMPT, "model": "gpt-4o"})
    assert assert_error(answer, 404, "model_not_found")["param"] == "model"


async def test_a_full_queue_says_when_to_come_back(http, engine, server):
    engine.free_places = 0
    answer = await http.post("/v1/completions", json=PROMPT)
    assert assert_error(answer, 429, "queue_full")["type"] == "rate_limit_error"
    assert answer.headers["retry-after"] == "7"
    assert server.errors == ["queue_full"]


async def test_n_beyond_the_queue_runs_none_of_them(http, engine):
    engine.pieces = None
    engine.free_places = 2
    answer = await http.post("/v1/completions", json={**PROMPT, "n": 3})
    error = assert_error(answer, 429, "queue_full")
    assert error["param"] == "n"
    assert "n=3" in error["message"]
    assert [each.cancelled for each in engine.submitted] == [True, True]


async def test_more_choices_than_could_ever_run_are_a_400_not_try_again_later(http, engine):
    engine.capacity = 2
    answer = await http.post("/v1/completions", json={**PROMPT, "n": 3})
    error = assert_error(answer, 400, "invalid_request")
    assert error["param"] == "n"
    assert not engine.submitted


async def test_chat_while_loading_says_so_and_when_to_come_back(http, engine):
    engine.status = LOADING
    body = {"messages": [{"role": "user", "content": "hi"}]}
    answer = await http.post("/v1/chat/completions", json=body)
    error = assert_error(answer, 503, "model_loading")
    assert "loading" in error["message"]
    assert answer.headers["retry-after"] == "17"


async def test_what_the_template_refuses_is_the_clients_error(http, engine):
    facts = msgspec.structs.replace(
        FACTS, chat_template="{{ raise_exception('roles must alternate') }}"
    )
    engine.status = replace(READY, facts=facts)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    answer = await http.post("/v1/chat/completions", json=body)
    error = assert_error(answer, 400, ChatTemplateError.code)
    assert "roles must alternate" in error["message"]
    assert engine.submitted == []


async def test_a_refusal_of_the_engine_comes_before_any_event(http, engine):
    engine.rejection = QueueFull("full", retry_after_seconds=3)
    answer = await http.post("/v1/completions", json={**PROMPT, "stream": True})
    assert_error(answer, 429, "queue_full")


async def test_our_own_mistake_is_a_500_without_its_traceback(broken_app):
    transport = httpx.ASGITransport(broken_app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/metrics")
    assert_error(answer, 500, "internal_error")
    assert "ZeroDivision" not in answer.text
    assert answer.headers["x-request-id"]
