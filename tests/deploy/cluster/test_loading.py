"""How far a pod is, by what it says itself."""

import json
from dataclasses import replace

import msgspec
import pytest

from gguf_deploy.cluster.loading import describe, last_words, read_fetch_log, read_startupz
from gguf_server.api.health import startupz
from gguf_server.models.progress import Progress
from gguf_server.supervisor.status import State, Status

LOADING = Status(State.LOADING, False, False, "load", 0.37, "", 12.0, 24.2, 0, "", None)


def said(status: Status) -> str:
    load = read_startupz(json.dumps(startupz(status).body).encode())
    return describe(load) if load else ""


def test_a_load_is_told_as_the_server_tells_it() -> None:
    assert said(LOADING) == "load 37 %, about 24 s to go"


def test_a_load_that_nothing_can_be_said_of_is_told_without_time() -> None:
    status = Status(State.LOADING, False, False, "process", 0.0, "", 1.0, None, 0, "", None)
    assert said(status) == "process 0 %"


def test_an_engine_that_is_replaced_tells_why() -> None:
    status = Status(State.REPLACING, True, False, "load", 0.5, "", 1.0, None, 1, "it stalled", None)
    assert said(status) == "load 50 %, it stalled"
    assert said(replace(status, state=State.LOADING, ever_ready=False)) == "load 50 %, it stalled"


def test_one_that_failed_tells_its_reason() -> None:
    status = Status(State.FAILED, False, False, "", 0.0, "", 1.0, None, 3, "no room", None)
    assert said(status) == "failed, the engine cannot be kept running: no room"


@pytest.mark.parametrize(
    "body",
    [b"", b"oops", b"[]", b'{"kind": "Status", "status": "Failure"}', b'{"status": "ready"}'],
)
def test_who_has_nothing_to_load_has_no_progress(body: bytes) -> None:
    assert read_startupz(body) is None


def written(*progress: Progress) -> str:
    return "\n".join(msgspec.json.encode(each).decode() for each in progress)


def test_the_newest_line_of_a_fetch_counts() -> None:
    text = written(
        Progress("resolve", "asking"),
        Progress("download", "a.gguf", 3_200_000_000, 8_000_000_000, 40_000_000),
    )
    load = read_fetch_log(text + "\ngguf-server: a warning\n")
    assert load is not None
    assert describe(load) == "fetch: download 40 %, 3.2 GB of 8.0 GB, about 2 min to go"


def test_a_fetch_that_moves_nothing_yet_tells_its_stage() -> None:
    load = read_fetch_log(written(Progress("wait", "for pod-x")))
    assert load is not None
    assert describe(load) == "fetch: wait, for pod-x"
    assert read_fetch_log("nothing\n") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ('{"stage": "download"}\ngguf-server: the disk is full\n', "gguf-server: the disk is full"),
        ('gguf-server: no room\n{"stage": "download"}\n', "gguf-server: no room"),
        ('{"level": "critical", "message": "no room"}\n', "no room"),
        ('{"error": {"code": "disk_full", "message": "it is full"}}\n', "it is full"),
    ],
)
def test_the_last_words_are_those_for_people(text: str, words: str) -> None:
    assert last_words(text) == words
