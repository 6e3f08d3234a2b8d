"""Answers are counted by path and status, whatever is asked for, and whoever answers."""

from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from gguf_server.api.traffic import CountResponses
from tests.server.api.fakes import FakeEngine, serving, until

pytestmark = pytest.mark.anyio


class Counts(Counter[tuple[str, str]]):
    """Counts the answers, and knows which kinds were announced."""

    def __init__(self) -> None:
        super().__init__()
        self.announced: set[tuple[str, str]] = set()

    def counter_of(self, path: str, status: str) -> Callable[[], None]:
        self.announced.add((path, status))
        return lambda: self.update([(path, status)])


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/livez", ("/livez", "2xx")),
        ("GET", "/v1/models", ("/v1/models", "2xx")),
        ("GET", "/v1/models/org/other", ("/v1/models/{name}", "4xx")),
        ("POST", "/v1/chat/completions", ("/v1/chat/completions", "4xx")),
        ("GET", "/v1/chat/completions", ("/v1/chat/completions", "4xx")),
        ("GET", "/wp-login.php", ("other", "4xx")),
        ("PUT", "/" + "x" * 1000, ("other", "4xx")),
    ],
)
async def test_each_answer_counts_once(counts: Counts, method, path, kind):
    async with (
        serving(FakeEngine(), response_counter=counts.counter_of) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await http.request(method, path)
        await until(lambda: counts)
    assert counts == {kind: 1}
    assert kind in counts.announced


async def test_what_is_refused_for_its_key_counts(counts: Counts):
    async with (
        serving(FakeEngine(), response_counter=counts.counter_of, api_keys=("k",)) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await http.get("/v1/models")
        await until(lambda: counts)
    assert counts == {("/v1/models", "4xx"): 1}


async def test_a_client_that_left_before_the_answer_counts_too(counts: Counts):
    async def leaves_unanswered(scope, receive, send):
        return

    app = CountResponses(leaves_unanswered, ["/v1/models"], counts.counter_of)
    await app({"type": "http", "path": "/v1/models"}, None, None)  # type: ignore[arg-type]
    assert counts == {("/v1/models", "none"): 1}


async def test_a_failure_counts_and_goes_on(counts: Counts):
    async def fails(scope, receive, send):
        await send({"type": "http.response.start", "status": 500})
        raise ZeroDivisionError

    async def sent(message):
        pass

    app = CountResponses(fails, ["/v1/models"], counts.counter_of)
    with pytest.raises(ZeroDivisionError):
        await app({"type": "http", "path": "/v1/models"}, None, sent)  # type: ignore[arg-type]
    assert counts == {("/v1/models", "5xx"): 1}
