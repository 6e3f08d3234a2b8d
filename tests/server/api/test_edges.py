"""Who may call, from where, how much, and under which id."""

import asyncio
import json
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.server.api.fakes import FakeEngine, Server, serving

pytestmark = pytest.mark.anyio

OPEN = ["/livez", "/readyz", "/startupz", "/health", "/metrics", "/version"]
GUARDED = ["/v1/models", "/v1/completions", "/tokenize", "/openapi.json", "/livez/", "/nothing"]
ORIGIN = {"origin": "https://chat.example"}


async def ask(path: str, method: str = "GET", headers=None, content=None, **options):
    async with serving(FakeEngine(), **options) as server, client_of(server) as http:
        return await http.request(method, path, headers=headers, content=content)


def client_of(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=30)


# --- keys ----------------------------------------------------------------------------------------


async def test_without_a_key_only_probes_metrics_and_version_answer():
    options = {"api_keys": ("one", "two")}
    async with serving(FakeEngine(), **options) as server, client_of(server) as http:
        assert {(await http.get(path)).status_code for path in OPEN} == {200}
        for path in GUARDED:
            answer = await http.get(path)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-request-id"]
    assert server.errors == ["invalid_api_key"] * len(GUARDED)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer one", 200),
        ("Bearer two", 200),
        ("bearer two", 200),
        ("Bearer three", 401),
        ("Bearer", 401),
        ("one", 401),
        ("Basic one", 401),
        ("Bearer one two", 401),
    ],
)
async def test_any_of_the_keys_opens(authorization, status):
    headers = {"authorization": authorization}
    answer = await ask("/v1/models", headers=headers, api_keys=("one", "two"))
    assert answer.status_code == status


# --- origins -------------------------------------------------------------------------------------


async def test_no_origin_is_allowed_by_default():
    answer = await ask("/v1/models", headers=ORIGIN)
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_a_listed_origin_is_allowed_even_to_see_that_its_key_is_wrong():
    allowed: dict[str, Any] = {"cors_origins": (ORIGIN["origin"],), "api_keys": ("one",)}
    preflight = await ask(
        "/v1/completions",
        "OPTIONS",
        {
            **ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, x-stainless-os",
        },
        **allowed,
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN["origin"]
    answer = await ask("/v1/models", headers=ORIGIN, **allowed)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN["origin"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_another_origin_is_not_allowed():
    headers = {"origin": "https://evil.example"}
    answer = await ask("/v1/models", headers=headers, cors_origins=(ORIGIN["origin"],))
    assert "access-control-allow-origin" not in answer.headers


# --- bodies --------------------------------------------------------------------------------------


async def test_an_announced_body_over_the_limit_is_refused_unsent():
    async with serving(FakeEngine(), max_body_bytes=1000) as server, sending(server) as (r, w):
        w.write(HEAD + b"content-length: 1001\r\n\r\n")  # and nothing more
        assert b" 413 " in await r.readline()


async def test_a_body_that_grows_over_the_limit_is_refused_before_its_end():
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    async with serving(FakeEngine(), max_body_bytes=100_000) as server, sending(server) as (r, w):
        w.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        answering = asyncio.create_task(r.readline())
        num_chunks = 0
        while not answering.done():  # there is no last chunk
            w.write(chunk)
            await w.drain()
            await asyncio.sleep(0)
            num_chunks += 1
        assert b" 413 " in await answering
        assert num_chunks > 100


async def test_a_body_over_the_limit_gets_its_error_even_if_it_is_sent_first():
    answer = await ask("/v1/completions", "POST", content=b"x" * 20_000_000, max_body_bytes=1000)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert "1,000" in answer.json()["error"]["message"]


HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"


@asynccontextmanager
async def sending(server: Server) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """A bare connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_at_the_limit_is_read():
    body = b'{"prompt": "hi"}'
    headers = {"content-type": "application/json"}
    options = {"max_body_bytes": len(body)}
    assert (await ask("/v1/completions", "POST", headers, body, **options)).status_code == 200
    assert (
        await ask("/v1/completions", "POST", headers, body + b" ", **options)
    ).status_code == 413


# --- ids -----------------------------------------------------------------------------------------


async def test_a_sane_request_id_comes_back():
    answer = await ask("/nothing", headers={"x-request-id": "trace-1:2/3"})
    assert answer.headers["x-request-id"] == "trace-1:2/3"


@pytest.mark.parametrize("given", ["a b", "a" * 129, "é".encode()])
async def test_any_other_request_gets_an_id(given):
    answer = await ask("/version", headers={"x-request-id": given})
    assert re.fullmatch(r"req-[0-9a-f]{24}", answer.headers["x-request-id"])


async def test_a_stream_carries_its_id_too():
    headers = {"content-type": "application/json", "x-request-id": "me"}
    answer = await ask("/v1/completions", "POST", headers, b'{"prompt": "x", "stream": true}')
    assert answer.headers["x-request-id"] == "me"


@pytest.mark.parametrize(
    ("path", "name", "item"),
    [("/v1/chat/completions", "messages", 1), ("/detokenize", "tokens", "")],
)
async def test_of_a_million_wrong_items_only_the_first_is_reported(path, name, item):
    """pydantic would make an error of each, and the event loop with all its probes would wait."""
    body = json.dumps({name: [item] * 1_000_000}).encode()
    headers = {"content-type": "application/json"}
    answer = await ask(path, "POST", content=body, headers=headers, max_body_bytes=len(body))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == f"{name}[0]"
