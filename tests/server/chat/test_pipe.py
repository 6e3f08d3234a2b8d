"""``echo hi | gguf-server chat``: the answer on stdout, everything else on stderr, an exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_server.errors import ServerUnusable, SettingsError
from tests.server.chat.fakes import FakeServer, cuts, is_silent, refuses, says
from tests.server.chat.terminal import environment


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def chat(
    home: Path, question: str | bytes, *arguments: str, **environ: str
) -> "subprocess.CompletedProcess[str]":
    result = subprocess.run(
        [sys.executable, "-m", "gguf_server", "chat", *arguments],
        input=question.encode() if isinstance(question, str) else question,
        env=environment(home, **environ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    output, errors = result.stdout.decode(), result.stderr.decode()
    return subprocess.CompletedProcess(result.args, result.returncode, output, errors)


def test_all_of_the_input_is_one_question(fake: FakeServer, home: Path) -> None:
    result = chat(home, "one\ntwo\n", f"{fake.url}/v1", "--max-tokens", "9", "--temperature", "0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "fine.\n", "")
    assert fake.questions() == ["one\ntwo"]
    assert (fake.asked[0]["max_tokens"], fake.asked[0]["temperature"]) == (9, 0)


def test_only_the_answer_goes_through_a_pipe(fake: FakeServer, home: Path) -> None:
    fake.plays = [says("yes\n", reasoning="so")]
    result = chat(home, "hi", fake.url)
    assert (result.stdout, result.stderr) == ("yes\n", "")


def test_json_is_one_object(fake: FakeServer, home: Path) -> None:
    fake.plays = [says("a", "b", reasoning="so")]
    result = chat(home, "hi", fake.url, "--json")
    assert json.loads(result.stdout) == {
        "model": "tiny",
        "content": "ab",
        "reasoning": "so",
        "finish_reason": "stop",
        "usage": {"completion_tokens": 2},
    }


@pytest.mark.parametrize(
    ("play", "wanted"),
    [
        (refuses(401, "no"), "asks for an API key (HTTP 401); give one with --api-key"),
        (refuses(400, "too long", "context_length_exceeded"), "too long"),
        (cuts("so f"), "the answer was cut off"),
        (is_silent, "sent nothing for 0.2 s"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_7(
    fake: FakeServer, home: Path, play, wanted: str
) -> None:
    fake.plays = [play]
    result = chat(home, "hi", fake.url, "--timeout-seconds", "0.2", "--model", "tiny")
    assert result.returncode == ServerUnusable.exit_code
    assert result.stderr.startswith("gguf-server: ")
    assert wanted in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_is_not_there_says_how_to_start_one(home: Path) -> None:
    result = chat(home, "hi", "http://127.0.0.1:9")
    assert result.returncode == ServerUnusable.exit_code
    assert "no server answers at http://127.0.0.1:9: connection refused" in result.stderr
    assert "`gguf-server serve` starts one" in result.stderr


def test_a_retry_after_is_waited_for(fake: FakeServer, home: Path) -> None:
    fake.startup = (404, {})
    fake.plays = [refuses(503, "later", retry_after="0.01")] * 2
    result = chat(home, "hi", fake.url)
    assert (result.returncode, result.stdout) == (0, "fine.\n")
    assert result.stderr.count("\n") == 1  # said once where it cannot be written over
    assert "is not ready: later" in result.stderr


def test_the_key_comes_from_the_option_or_from_openais_variable(
    fake: FakeServer, home: Path
) -> None:
    chat(home, "hi", fake.url, OPENAI_API_KEY="one")
    chat(home, "hi", fake.url, "--api-key", "two", OPENAI_API_KEY="one")
    chat(home, "hi", fake.url)
    assert fake.keys == ["Bearer one", "Bearer two", None]


def test_no_question_is_a_wrong_use_of_the_command(home: Path) -> None:
    result = chat(home, " \n")
    assert result.returncode == SettingsError.exit_code
    assert "no question on standard input" in result.stderr


def test_bytes_that_are_no_text_do_not_end_it(fake: FakeServer, home: Path) -> None:
    assert chat(home, b"hi \xff", fake.url).returncode == 0
    assert fake.questions() == ["hi \ufffd"]


def test_a_proxy_is_not_asked_for_this_machines_own_addresses(fake: FakeServer, home: Path) -> None:
    result = chat(home, "hi", fake.url, HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://h:9")
    assert result.returncode == 0


def test_a_reader_that_leaves_is_no_error_to_talk_about(fake: FakeServer, home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-m", "gguf_server", "chat", fake.url],
        input=b"hi",
        env=environment(home),
        stdout=write_end,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert (result.returncode, result.stderr) == (141, b"")
