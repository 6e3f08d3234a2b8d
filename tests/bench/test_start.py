import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.bench import page_cache
from tests.bench.running import StartError
from tests.bench.servers import Deployment, Kind, Server
from tests.bench.start import (
    CACHES,
    POLL_SECONDS,
    Cache,
    Start,
    measure,
    measure_one,
    record,
    summary,
    table,
)
from tests.bench.test_page_cache import is_in_memory

OURS = Server("gguf-server", "gguf-server", "gguf-server")
PEER = Server("llama-server split", "llama-server", "llama-server")
OTHER_PEER = Server("llama-server unified", "llama-server", "llama-server")
SLOW_TO_LOAD = """\
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

answers = iter([503, 503])

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path in ("/health", "/readyz"):
            self.answer(next(answers, 200), b"{}")
        elif self.path == "/metrics":
            self.answer(200, b'gguf_server_load_seconds{stage="context"} 0.001\\n')
        else:
            self.answer(200, json.dumps({"data": [{"id": "m"}]}).encode())

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        event = {"choices": [{"delta": {"content": "Hi"}}]}
        self.answer(200, b"data: " + json.dumps(event).encode() + b"\\n\\ndata: [DONE]\\n\\n")

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def start(server: Server, ready: float, cache: Cache = "warm", **changes: object) -> Start:
    values = {
        "server": server,
        "cache": cache,
        "resident_share": 1.0 if cache == "warm" else 0.0,
        "answer_seconds": 0.2,
        "ready_seconds": ready,
        "first_token_seconds": 0.1,
        "second_token_seconds": 0.1,
        "stages": {"before": 0.4, "context": 0.3} if server.is_ours else {},
    }
    return Start(**values | changes)  # type: ignore[arg-type]


def program(folder: Path, text: str, kind: Kind = "llama-server") -> Server:
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return Server("fake", kind, str(path))


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF" * 5000)
    return Deployment(model, num_slots=2)


def test_medians_are_of_one_server_and_one_state_of_the_cache() -> None:
    starts = [start(OURS, seconds) for seconds in (1.0, 5.0, 1.2)]
    starts += [start(OURS, 2.0, "cold"), start(PEER, 0.5)]
    found = {(each.server, each.cache): each.ready_seconds for each in summary(starts)}
    assert found == {
        ("gguf-server", "cold"): 2.0,
        ("gguf-server", "warm"): 1.2,
        ("llama-server split", "warm"): 0.5,
    }


def test_the_distance_is_to_the_first_llama_server_in_the_same_state_of_the_cache() -> None:
    starts = [start(OURS, 1.2), start(OURS, 2.0, "cold")]
    starts += [start(PEER, 0.4), start(PEER, 1.6, "cold"), start(OTHER_PEER, 0.1)]
    cold, warm = (each for each in summary(starts) if each.server == "gguf-server")
    assert [warm.behind_seconds, warm.ratio] == pytest.approx([0.8, 3.0])
    assert [cold.behind_seconds, cold.ratio] == pytest.approx([0.4, 1.25])


def test_without_llama_server_there_is_no_distance() -> None:
    [alone] = summary([start(OURS, 1.2)])
    assert (alone.behind_seconds, alone.ratio) == (None, None)
    assert " - " in table([start(OURS, 1.2)])


def test_a_server_that_gave_no_token_shows_as_none() -> None:
    [one] = summary([start(PEER, 0.5, first_token_seconds=None, second_token_seconds=0.3)])
    assert (one.first_token_seconds, one.second_token_seconds) == (None, 0.3)


def test_the_table_has_our_stages_and_says_which_starts_were_not_what_they_say() -> None:
    text = table([start(OURS, 1.2), start(PEER, 0.5, resident_share=0.5)])
    assert "| warm |   0.40 |     - |       - |    0.30 |      - |" in text
    assert "1 of 2 starts: the file was not so" in text
    assert "starts:" not in table([start(OURS, 1.2), start(OURS, 1.2, "cold")])


def test_a_record_is_json_with_every_single_start_in_it() -> None:
    written = json.loads(json.dumps(record([start(OURS, 1.0), start(OURS, 2.0)]), allow_nan=False))
    assert [each["ready_seconds"] for each in written["runs"]] == [1.0, 2.0]
    assert written["runs"][0]["server"] == "gguf-server"
    assert written["medians"][0]["ready_seconds"] == 1.5


def test_an_answer_is_the_first_of_any_status_and_ready_the_first_200(
    tmp_path: Path, deployment: Deployment
) -> None:
    seen = asyncio.run(measure_one(program(tmp_path, SLOW_TO_LOAD), deployment, "warm"))
    assert 0.0 < seen.answer_seconds < seen.ready_seconds - POLL_SECONDS
    assert seen.first_token_seconds is not None
    assert seen.stages == {}


@pytest.mark.parametrize("cache", CACHES)
def test_the_file_is_put_into_the_page_cache_or_taken_out_of_it(
    tmp_path: Path, deployment: Deployment, cache: Cache
) -> None:
    if cache == "warm":
        page_cache.drop(deployment.model)
    seen = asyncio.run(measure_one(program(tmp_path, SLOW_TO_LOAD), deployment, cache))
    assert seen.is_what_it_says or seen.resident_share is None or is_in_memory(tmp_path)


def test_what_our_engine_does_not_tell_of_its_load_was_before_it(
    tmp_path: Path, deployment: Deployment
) -> None:
    server = program(tmp_path, SLOW_TO_LOAD, "gguf-server")
    seen = asyncio.run(measure_one(server, deployment, "warm"))
    assert seen.stages["context"] == 0.001
    assert sum(seen.stages.values()) == pytest.approx(seen.ready_seconds)


def test_a_program_that_ends_instead_is_an_error_with_its_last_words(
    tmp_path: Path, deployment: Deployment
) -> None:
    server = program(tmp_path, "raise SystemExit('no such model')")
    with pytest.raises(StartError, match=r"fake ended with code 1.*\nno such model"):
        asyncio.run(measure_one(server, deployment, "warm"))


def test_servers_take_turns_and_the_order_turns_round(
    monkeypatch: pytest.MonkeyPatch, deployment: Deployment
) -> None:
    async def note(server: Server, _: Deployment, cache: Cache) -> Start:
        return start(server, 1.0, cache)

    monkeypatch.setattr("tests.bench.start.measure_one", note)
    starts = asyncio.run(measure([OURS, PEER], deployment, repeat=2))
    order = [(each.cache, each.server.is_ours) for each in starts]
    first = [("cold", True), ("cold", False), ("warm", True), ("warm", False)]
    assert order == [*first, ("cold", False), ("cold", True), ("warm", False), ("warm", True)]
