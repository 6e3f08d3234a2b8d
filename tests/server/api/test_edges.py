"""Who may call, from where, how much, and under which id."""

import asyncio
import re

import httpx
import pytest

from tests.server.api.fakes import FakeEngine, serving

pytestmark = pytest.mark.anyio

OPEN = ["/livez", "/readyz", "/startupz", "/health", "/metrics", "/version"]
GUARDED = ["/v1/models", "/v1/completions", "/tokenize", "/openapi.json", "/livez/", "/nothing"]
ORIGIN = {"origin": "https://chat.example"}


async def ask(path: str, method: str = "GET", headers=None, content=None, **options):
    async with serving(FakeEngine(), **options) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
            return await http.request(method, path, headers=headers, content=content)


# --- keys ----------------------------------------------------------------------------------------


async def test_without_a_key_only_probes_metrics_and_version_answer():
    async with serving(FakeEngine(), api_keys=("one", "two")) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
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
        ("Bearer ", 401),
        ("Bearer", 401),
        ("one", 401),
        ("Basic one", 401),
        ("Bearer one two", 401),
        ("Bearer \u00e9".encode(), 401),
    ],
)
async def test_any_of_the_keys_opens(authorization, status):
    headers = {"authorization": authorization}
    answer = await ask("/v1/models", headers=headers, api_keys=("one", "two"))
    assert answer.status_code == status


async def test_a_refused_client_does_not_get_its_body_read():
    async def endless():
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    answer = await ask("/v1/completions", "POST", content=endless(), api_keys=("one",))
    assert answer.status_code == 401


# --- origins -------------------------------------------------------------------------------------


async def test_no_origin_is_allowed_by_default():
    answer = await ask("/v1/models", headers=ORIGIN)
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_a_listed_origin_is_allowed_even_to_see_that_its_key_is_wrong():
    allowed = {"cors_origins": (ORIGIN["origin"],), "api_keys": ("one",)}
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


async def test_an_announced_body_over_the_limit_is_refused_unread():
    answer = await ask("/v1/completions", "POST", content=b"x" * 20_000_000, max_body_bytes=1000)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert "1,000" in answer.json()["error"]["message"]


async def test_a_body_that_grows_over_the_limit_is_refused_before_its_end():
    num_sent = 0

    async def growing():
        nonlocal num_sent
        while True:  # never ends by itself
            num_sent += 1
            yield b"x" * 1000
            await asyncio.sleep(0)

    answer = await ask("/v1/completions", "POST", content=growing(), max_body_bytes=100_000)
    assert answer.status_code == 413
    assert num_sent >= 100


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


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "é".encode()])
async def test_any_other_request_gets_an_id(given):
    answer = await ask("/version", headers={"x-request-id": given})
    assert re.fullmatch(r"req-[0-9a-f]{24}", answer.headers["x-request-id"])


async def test_a_stream_carries_its_id_too():
    headers = {"content-type": "application/json", "x-request-id": "me"}
    answer = await ask("/v1/completions", "POST", headers, b'{"prompt": "x", "stream": true}')
    assert answer.headers["x-request-id"] == "me"
