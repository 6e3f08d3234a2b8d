"""Log lines: for people, and for collectors that parse them."""

import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from gguf_server import logs
from gguf_server.logs import ConsoleFormatter, JsonFormatter


@pytest.fixture
def restored_root() -> Iterator[None]:
    """``configure`` changes what the test runner has set up."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    chatty = {name: logging.getLogger(name).level for name in ("uvicorn.access", "uvicorn.error")}
    yield
    root.handlers[:], root.level = before
    for name, level in chatty.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def request_id() -> Iterator[str]:
    token = logs.request_id.set("req-17")
    yield "req-17"
    logs.request_id.reset(token)


def make_record(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    exc_info = None
    if error:
        try:
            int("inner")
        except ValueError:
            exc_info = sys.exc_info()
    return logging.LogRecord(
        "gguf_server.engine", logging.WARNING, __file__, 1, message, args, exc_info
    )


@pytest.mark.parametrize("message", ["plain", 'quo"te', "two\nlines", "ümläut 𝄞", "\x00\x1b[31m"])
def test_a_json_line_is_one_line_and_parses(message: str) -> None:
    line = JsonFormatter().format(make_record(message))
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["message"] == message
    assert parsed["level"] == "warning"
    assert parsed["logger"] == "gguf_server.engine"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", parsed["time"])
    assert "request_id" not in parsed


def test_arguments_are_put_into_the_message() -> None:
    assert (
        json.loads(JsonFormatter().format(make_record("%s of %d", "a", 3)))["message"] == "a of 3"
    )


def test_a_traceback_stays_within_its_json_line() -> None:
    line = JsonFormatter().format(make_record("failed", error=True))
    assert "\n" not in line
    message = json.loads(line)["message"]
    assert message.startswith("failed\nTraceback")
    assert "ValueError: invalid literal" in message


def test_the_request_id_appears_in_json(request_id: str) -> None:
    assert json.loads(JsonFormatter().format(make_record("x")))["request_id"] == request_id


def test_the_request_id_appears_on_the_console(request_id: str) -> None:
    line = ConsoleFormatter().format(make_record("hello"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING engine: hello \[req-17\]", line)


def test_a_console_line_without_request_names_its_part_of_the_server() -> None:
    line = ConsoleFormatter().format(make_record("hello"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING engine: hello", line)


def test_a_console_line_is_followed_by_its_traceback() -> None:
    line = ConsoleFormatter().format(make_record("failed", error=True))
    assert line.splitlines()[1].startswith("Traceback")


@pytest.mark.usefixtures("restored_root")
def test_everything_goes_to_stderr_in_the_chosen_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("gguf_server.x").info("shown")
    logging.getLogger("gguf_server.x").debug("hidden")
    logging.getLogger("uvicorn.access").info("chatter")
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["shown"]


@pytest.mark.usefixtures("restored_root")
def test_configuring_again_replaces_the_first_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.configure("error", "console")
    logging.getLogger("gguf_server.x").warning("hidden")
    logging.getLogger("gguf_server.x").error("shown")
    assert capsys.readouterr().err.strip().endswith("ERROR   x: shown")
