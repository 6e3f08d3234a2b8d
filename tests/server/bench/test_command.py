"""``gguf-server bench URL``: a table or JSON on stdout, one line and exit code 7 for failures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_server.errors import ServerUnusable
from tests.server.chat.fakes import FakeServer, Play, is_silent, refuses, says
from tests.server.chat.terminal import CTRL_C, LIMIT_SECONDS, Terminal, environment

NUM_PROBES = 4


def bench(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gguf_server", "bench", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def full(num_tokens: int) -> Play:
    return says(*["x"] * num_tokens)


def test_the_table_has_a_row_for_each_workload(fake: FakeServer, tmp_path: Path) -> None:
    fake.plays = [full(1)] * NUM_PROBES + [full(128), full(64), full(64)]
    result = bench(
        tmp_path, fake.url, "--workload", "single,eight", "--requests", "1", "--seed", "s"
    )
    assert (result.returncode, result.stderr) == (0, "")
    about, guess, head, single, eight, *_ = result.stdout.splitlines()
    assert about == f"tiny at {fake.url}; --seed s repeats these prompts"
    assert "sizes are guesses" in guess
    assert head.split()[:5] == ["workload", "done", "failed", "out", "tok/s"]
    assert single.split()[:3] == ["single", "1", "0"]
    assert eight.split()[:3] == ["eight", "1", "0"]
    assert len(fake.asked) == NUM_PROBES + 2


def test_failures_are_counted_by_kind_and_end_with_exit_code_7(
    fake: FakeServer, tmp_path: Path
) -> None:
    fake.plays = [full(1)] * NUM_PROBES + [refuses(429, "full house"), full(64), full(3)]
    options = ("--workload", "eight", "--requests", "3", "--concurrency", "1")
    result = bench(tmp_path, fake.url, *options)
    assert result.returncode == ServerUnusable.exit_code
    assert result.stderr == "gguf-server: 1 request failed\n"
    assert "! eight: 1 x HTTP 429; the first: HTTP 429: full house" in result.stdout
    assert "! eight: 1 answers ended before the length asked for" in result.stdout


def test_json_is_one_object_with_every_number(fake: FakeServer, tmp_path: Path) -> None:
    options = ("--workload", "shared", "--requests", "2", "--json", "--model", "named")
    result = bench(tmp_path, fake.url, *options)
    record = json.loads(result.stdout)
    (workload,) = record["workloads"]
    assert (record["model"], workload["name"], workload["num_completed"]) == ("named", "shared", 2)
    assert workload["ttft_p95_seconds"] > 0
    assert {body["model"] for body in fake.asked} == {"named"}


def test_two_runs_ask_different_questions_unless_the_seed_is_given(
    fake: FakeServer, tmp_path: Path
) -> None:
    for seed in ([], [], ["--seed", "a"], ["--seed", "a"]):
        bench(tmp_path, fake.url, "--workload", "single", *seed)
    first, second, third, fourth = fake.questions()[NUM_PROBES :: NUM_PROBES + 1]
    assert first != second
    assert third == fourth


def test_a_person_at_a_terminal_sees_how_far_it_is(fake: FakeServer, tmp_path: Path) -> None:
    fake.plays = [full(1)] * (NUM_PROBES + 1) + [is_silent]
    options = ("--workload", "eight", "--requests", "2", "--concurrency", "1")
    with Terminal(tmp_path, "bench", fake.url, *options) as terminal:
        terminal.sees("eight: 0 of 2 requests, 0 s")
        terminal.sees("eight: 1 of 2 requests")
        fake.go_on.set()
        terminal.sees("out tok/s")
        assert terminal.ends() == ServerUnusable.exit_code  # one was never answered


def test_ctrl_c_does_not_lose_what_has_been_measured(fake: FakeServer, tmp_path: Path) -> None:
    fake.plays = [full(1)] * (NUM_PROBES + 1) + [is_silent]
    options = ("--workload", "single,eight", "--requests", "1")
    with Terminal(tmp_path, "bench", fake.url, *options) as terminal:
        terminal.sees("eight: 0 of 1")
        assert fake.is_silent.wait(LIMIT_SECONDS)
        terminal.keys(CTRL_C)
        terminal.sees(r"\n  single +1 +0 ")
        assert terminal.ends() == 130


@pytest.mark.parametrize(
    ("play", "wanted"),
    [
        (refuses(401, "no"), "asks for an API key"),
        (refuses(404, "no such model"), "has no model 'tiny'"),
        (refuses(503, "Loading model"), "answered HTTP 503: Loading model"),
    ],
)
def test_a_server_that_cannot_be_measured_is_one_line(
    fake: FakeServer, tmp_path: Path, play: Play, wanted: str
) -> None:
    fake.plays = [play]
    result = bench(tmp_path, fake.url)
    assert (result.returncode, result.stdout) == (ServerUnusable.exit_code, "")
    assert wanted in result.stderr
    assert result.stderr.count("\n") == 1
