"""``gguf-server chat`` at a terminal: a process on a pty, against a server that misbehaves."""

import stat
from pathlib import Path

import pytest

from tests.server.chat.fakes import (
    FakeServer,
    breaks,
    cuts,
    is_a_web_page,
    is_silent,
    refuses,
    says,
    says_half,
)
from tests.server.chat.terminal import CTRL_C, CTRL_D, LIMIT_SECONDS, UP, Terminal

PROMPT = r"(?m)^> "


def test_an_answer_streams_and_the_next_question_knows_it(fake: FakeServer, tmp_path: Path) -> None:
    fake.plays = [says("Hel", "lo"), says("Bye")]
    with Terminal(tmp_path, "chat", fake.url, "--system", "be kind") as terminal:
        terminal.sees("tiny at http://127.0.0.1:")
        terminal.sees(PROMPT)
        terminal.types("hi")
        assert terminal.sees(PROMPT) == "hi\nHello\n> "
        terminal.types("ciao")
        terminal.sees(r"Bye\n> ")
        terminal.keys(CTRL_D)
        assert terminal.ends() == 0
    contents = [message["content"] for message in fake.asked[1]["messages"]]
    assert contents == ["be kind", "hi", "Hello", "ciao"]
    assert set(fake.asked[0]) == {"model", "messages", "stream"}  # the rest is the server's choice


def test_ctrl_c_stops_the_answer_keeps_it_and_hangs_up(fake: FakeServer, tmp_path: Path) -> None:
    fake.plays = [says_half("Half a")]
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees("Half a")
        terminal.keys(CTRL_C)
        terminal.sees(r"\(stopped\)\n> ")
        assert fake.client_left.wait(LIMIT_SECONDS)
        terminal.types("and?")
        terminal.sees(r"fine\.\n> ")
    assert [message["content"] for message in fake.asked[1]["messages"]] == ["hi", "Half a", "and?"]


def test_ctrl_c_stops_waiting_for_a_server_that_never_answers(
    fake: FakeServer, tmp_path: Path
) -> None:
    fake.plays = [is_silent]
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees("hi\n")
        assert fake.is_silent.wait(LIMIT_SECONDS)
        terminal.keys(CTRL_C)
        terminal.sees(r"\(stopped\)\n> ")


def test_ctrl_c_at_the_prompt_clears_the_line_and_a_second_one_leaves(
    fake: FakeServer, tmp_path: Path
) -> None:
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.keys("never asked")
        terminal.sees("never asked")
        terminal.interrupts_the_prompt()
        terminal.sees("Ctrl-C again or Ctrl-D leaves")
        terminal.sees(PROMPT)
        terminal.types("asked")
        terminal.sees(r"fine\.\n> ")  # which makes the next Ctrl-C a first one again
        terminal.interrupts_the_prompt()
        terminal.sees("leaves")
        terminal.sees(PROMPT)
        terminal.interrupts_the_prompt()
        assert terminal.ends() == 0
    assert fake.questions() == ["asked"]


def test_a_backslash_goes_on_with_the_next_line(fake: FakeServer, tmp_path: Path) -> None:
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("one\\")
        terminal.sees(r"(?m)^\. ")
        terminal.types("two")
        terminal.sees(PROMPT)
    assert fake.questions() == ["one\ntwo"]


def test_history_outlives_the_session_and_is_the_users_alone(
    fake: FakeServer, tmp_path: Path
) -> None:
    pytest.importorskip("readline")
    state = tmp_path / "state"
    for keys in ("first\r", UP + "\r"):
        with Terminal(tmp_path, "chat", fake.url, XDG_STATE_HOME=str(state)) as terminal:
            terminal.sees(PROMPT)
            terminal.keys(keys)
            terminal.sees(r"fine\.\n> ")
    assert fake.questions() == ["first", "first"]
    (history,) = state.rglob("chat-history")
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_no_history_can_be_written_and_nobody_minds(fake: FakeServer, tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    with Terminal(tmp_path, "chat", fake.url, XDG_STATE_HOME=str(occupied)) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees(r"fine\.\n> ")


def test_reasoning_is_dimmed_and_a_model_cannot_drive_the_terminal(
    fake: FakeServer, tmp_path: Path
) -> None:
    fake.plays = [says("a\x1b]0;title\x07b", reasoning="so\x1b[31m")]
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        assert terminal.sees(PROMPT) == "hi\n\x1b[2mso[31m\x1b[0m\n\na]0;titleb\n> "


def test_no_color_means_no_escape_codes(fake: FakeServer, tmp_path: Path) -> None:
    fake.plays = [says("yes", reasoning="so")]
    with Terminal(tmp_path, "chat", fake.url, NO_COLOR="1") as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees(r"\(thinking\)\nso\n\nyes\n> ")
        assert "\x1b" not in terminal.shown


@pytest.mark.parametrize(
    ("play", "wanted"),
    [
        (cuts("so f"), r"so f\n! the answer was cut off: the server closed the connection;"),
        (breaks({"error": {"message": "engine died"}}), r"so f\n! .* cut off: engine died;"),
        (breaks("{broken"), r"so f\n! .* sent an event that cannot be read;"),
        (is_a_web_page, "! .* does not answer as an OpenAI-compatible server"),
        (refuses(500, "oops"), "! .* answered HTTP 500: oops; /retry asks again"),
        (refuses(429, "full"), "! .* answered HTTP 429: full; /retry asks again"),
        (refuses(400, "no", "context_length_exceeded"), "! no; /clear starts anew"),
        (refuses(404, "no model here"), "! .* has no model 'tiny': no model here"),
        (says("so f", finish_reason="length"), r"so f\n\(stopped at the limit of tokens"),
    ],
)
def test_what_goes_wrong_is_one_line_and_the_conversation_goes_on(
    fake: FakeServer, tmp_path: Path, play, wanted: str
) -> None:
    fake.plays = [play]
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees(f"hi\n(?:{wanted}).*\n> ")
        terminal.types("/retry")
        terminal.sees(r"fine\.\n> ")
    assert fake.questions() == ["hi", "hi"]
    assert len(fake.asked[1]["messages"]) == 1


def test_the_commands_do_what_help_says(fake: FakeServer, tmp_path: Path) -> None:
    saved = tmp_path / "talk.md"
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        for line, wanted in [
            ("/help", r"/save FILE .*\n(.*\n)*"),
            ("/retry", "! there is no question yet"),
            ("/system be kind", "the system message is set"),
            ("hi", r"fine\."),
            (f"/save {saved}", "saved to"),
            (f"/save {saved}", "! .* cannot be written: File exists"),
            ("/save", "! /save needs the name of a file"),
            ("/clear", "a new conversation"),
            ("ho", r"fine\."),
            ("/sing", "! there is no /sing; /help lists the commands"),
        ]:
            terminal.sees(PROMPT)
            terminal.types(line)
            terminal.sees(wanted)
        terminal.sees(PROMPT)
        terminal.types("/exit")
        assert terminal.ends() == 0
    assert "## Answer\n\nfine." in saved.read_text()
    assert [message["content"] for message in fake.asked[1]["messages"]] == ["be kind", "ho"]


def test_a_model_that_loads_is_waited_for_with_its_progress(
    fake: FakeServer, tmp_path: Path
) -> None:
    fake.startup = (503, {"status": "loading", "message": "the model is loading: weights 40 %"})
    fake.plays = [refuses(503, "loading", "model_loading", retry_after="60")]
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees("weights 40 %")
        terminal.sees(r"fine\.\n> ")


def test_an_engine_that_is_given_up_is_not_waited_for(fake: FakeServer, tmp_path: Path) -> None:
    fake.startup = (503, {"status": "failed", "message": "the engine cannot be kept running"})
    fake.plays = [refuses(503, "not now")]
    with Terminal(tmp_path, "chat", fake.url) as terminal:
        terminal.sees(PROMPT)
        terminal.types("hi")
        terminal.sees("! .*the engine cannot be kept running; /retry asks again\n> ")
