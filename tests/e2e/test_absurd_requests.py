"""Requests that our OpenAPI document allows, and many that it does not: no 5xx, no lost engine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.e2e.conftest import HANG_SECONDS, ServerUnderTest

SAME_EVERY_TIME = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
POSTS = ("v1/chat/completions", "v1/completions", "v1/embeddings", "tokenize", "detokenize")
GOOD = json.dumps(
    {"prompt": "the cat", "messages": [{"role": "user", "content": "é"}], "n": 1}
).encode()
FIRST_4XX, FIRST_5XX = 400, 500


@pytest.fixture(scope="module")
def small(tiny_model: Path) -> Iterator[ServerUnderTest]:
    """No answer is long, however much is asked for."""
    options = ("--context", "48", "--max-waiting", "8", "--threads", "1", "--embeddings", "on")
    server = ServerUnderTest(str(tiny_model), *options)
    server.wait_until_ready()
    yield server
    assert server.metric('engine_restarts_total{cause="crash"}') == 0
    server.stop()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_what_the_openapi_document_allows_or_forbids_is_answered_without_a_5xx(
    small: ServerUnderTest, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(small.get("openapi.json").json())
    with requests.Session() as session:
        for operation in schema.get_all_operations():
            assert isinstance(operation, Ok)
            if operation.ok().method != "post":
                continue  # nothing to get wrong

            @SAME_EVERY_TIME
            @given(operation.ok().as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case[Any]) -> None:
                answer = case.call(small.url, session=session, timeout=HANG_SECONDS)
                assert_sane(answer.status_code, answer.content, case.body)

            ask()


@pytest.mark.parametrize("path", POSTS)
def test_malformed_json_is_answered_without_a_5xx(small: ServerUnderTest, path: str) -> None:
    @SAME_EVERY_TIME
    @given(malformed())
    def ask(body: bytes) -> None:
        headers = {"content-type": "application/json"}
        answer = small.http.post(f"{small.url}/{path}", content=body, headers=headers)
        assert_sane(answer.status_code, answer.content, body)

    ask()


def malformed() -> st.SearchStrategy[bytes]:
    """A good body cut, with bytes replaced, or nested far too deep; or no JSON at all."""
    place = st.integers(0, len(GOOD) - 1)
    replaced = st.builds(
        lambda start, length, new: GOOD[:start] + new + GOOD[start + length :],
        place,
        st.integers(0, 9),
        st.binary(max_size=9),
    )
    nested = st.builds(lambda depth: b'{"prompt": ' + b"[" * depth, st.integers(1, 50_000))
    return st.one_of(place.map(lambda end: GOOD[:end]), replaced, nested, st.binary())


def assert_sane(status: int, answer: bytes, sent: object) -> None:
    about = f"{status} {answer[:500]!r} to {sent!r}"
    assert status < FIRST_5XX, about
    if status >= FIRST_4XX:
        assert json.loads(answer)["error"]["code"], about
