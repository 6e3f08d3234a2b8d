"""The state table of the probes, and that no probe waits for anything."""

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs

from gguf_server.api.health import health, livez, readyz, startupz
from gguf_server.supervisor.status import State, Status
from tests.server.api.fakes import LOADING, READY

pytestmark = pytest.mark.anyio

DRAINING = replace(READY, draining=True)
DRAINING_WHILE_LOADING = replace(LOADING, draining=True)
REPLACING = replace(
    LOADING, state=State.REPLACING, ever_ready=True, restarts=1, reason="the engine died of SIGKILL"
)
NEVER_READY_AND_REPLACED = replace(LOADING, restarts=1, reason="the engine died of SIGKILL")
FAILED = replace(READY, state=State.FAILED, restarts=2, reason="gave up after 3 crashes")
FAILED_BEFORE_READY = replace(LOADING, state=State.FAILED, reason="bad file")
FAILED_WHILE_DRAINING = replace(FAILED, draining=True)

# status                      startupz readyz livez health
TABLE = [
    (LOADING, 503, 503, 200, 503),
    (READY, 200, 200, 200, 200),
    (DRAINING, 200, 503, 200, 503),
    (DRAINING_WHILE_LOADING, 503, 503, 200, 503),
    (REPLACING, 200, 503, 200, 503),
    (NEVER_READY_AND_REPLACED, 503, 503, 200, 503),
    (FAILED, 503, 503, 503, 503),
    (FAILED_BEFORE_READY, 503, 503, 503, 503),
    (FAILED_WHILE_DRAINING, 503, 503, 503, 503),
]


@pytest.mark.parametrize(("status", "startup", "ready", "live", "llama"), TABLE)
def test_each_probe_follows_the_table(status, startup, ready, live, llama):
    probes = (startupz, readyz, livez, health)
    assert [probe(status).status_code for probe in probes] == [startup, ready, live, llama]


def test_startup_tells_how_far_a_load_is():
    assert startupz(LOADING).body == {
        "status": "loading",
        "stage": "weights",
        "percent": 42,
        "elapsed_seconds": 12.3,
        "remaining_seconds": 17.0,
        "restarts": 0,
        "message": "the model is loading: weights 42 %, 12 s so far, about 17 s to go",
    }


def test_an_estimate_is_null_while_there_is_none():
    status = replace(LOADING, remaining_seconds=None)
    assert startupz(status).body["remaining_seconds"] is None
    assert "to go" not in str(startupz(status).body["message"])


@pytest.mark.parametrize(
    ("status", "word"),
    [(READY, "ready"), (DRAINING, "draining"), (REPLACING, "replacing"), (FAILED, "failed")],
)
def test_the_body_names_the_state(status: Status, word: str):
    assert startupz(status).body["status"] == readyz(status).body["status"] == word


@pytest.mark.parametrize("probe", [startupz, readyz, livez])
def test_a_failure_carries_its_reason(probe):
    assert "gave up after 3 crashes" in str(probe(FAILED).body["message"])


@pytest.mark.parametrize("status", [REPLACING, NEVER_READY_AND_REPLACED])
def test_a_load_after_a_loss_carries_what_ended_the_one_before(status: Status):
    assert startupz(status).body["reason"] == "the engine died of SIGKILL"


def test_a_ready_server_says_whether_it_reuses_prefixes():
    assert startupz(READY).body["prefix_reuse"] == "on"
    assert READY.facts is not None
    facts = structs.replace(READY.facts, prefix_reuse="The model is odd.")
    assert startupz(replace(READY, facts=facts)).body["prefix_reuse"] == "The model is odd."
    assert "prefix_reuse" not in startupz(LOADING).body


@pytest.mark.parametrize("status", [REPLACING, NEVER_READY_AND_REPLACED])
def test_a_replacement_says_what_happened_to_the_last_engine(status: Status):
    assert "SIGKILL" in str(readyz(status).body["message"])
    assert readyz(status).body["restarts"] == 1


def test_health_has_the_bodies_of_llama_server():
    assert health(READY).body == {"status": "ok"}
    assert health(LOADING).body == {
        "error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    }


async def test_probes_are_served(http, engine):
    for status, *codes in TABLE:
        engine.status = status
        for path, code in zip(("/startupz", "/readyz", "/livez", "/health"), codes, strict=True):
            answer = await http.get(path)
            assert answer.status_code == code
            assert answer.headers["content-type"] == "application/json"
            assert (await http.head(path)).status_code == code


async def test_probes_answer_while_the_engine_answers_nobody(http, engine):
    engine.pieces = None
    asking = [
        asyncio.create_task(http.post("/v1/completions", json={"prompt": "hi"})) for _ in range(8)
    ]
    async with asyncio.timeout(10):
        for path in ("/startupz", "/readyz", "/livez", "/health", "/metrics", "/version"):
            assert (await http.get(path)).status_code == 200
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)


@pytest.mark.parametrize(("status", "closes"), [(READY, False), (DRAINING, True)])
async def test_a_server_that_drains_sends_each_client_on_with_its_answer(
    http, engine, status: Status, closes: bool
):
    """To whatever server a new connection leads to."""
    engine.status = status
    for path in ("/livez", "/v1/models", "/nowhere"):
        assert ((await http.get(path)).headers.get("connection") == "close") == closes


async def test_metrics_and_version_are_served(http):
    metrics = await http.get("/metrics")
    assert metrics.text == "gguf_server_up 1\n"
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (await http.get("/version")).json()["version"]
