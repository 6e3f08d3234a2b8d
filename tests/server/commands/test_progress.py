"""How a fetch shows how far it is, to people and to log collectors."""

import io
import itertools
import json

import pytest

from gguf_server.commands.progress import Bar, Lines, shortened, shown
from gguf_server.models.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_everything_else_lines() -> None:
    assert isinstance(shown(Terminal(), as_json=False), Bar)
    assert isinstance(shown(Terminal(), as_json=True), Lines)
    assert isinstance(shown(io.StringIO(), as_json=False), Lines)


def test_lines_are_json_one_a_second_and_each_new_stage() -> None:
    stream = io.StringIO()
    eighths = itertools.count()
    with Lines(stream, lambda: next(eighths) / 8) as report:
        report(Progress("resolve"))
        for num_bytes in range(24):
            report(Progress("download", "m.gguf", num_bytes, 24, 8.0))
        report(Progress("done"))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["stage"] for line in lines] == ["resolve", *["download"] * 3, "done"]
    assert [line["num_bytes"] for line in lines[1:-1]] == [0, 8, 16]


def test_a_bar_says_what_how_much_and_how_fast_and_leaves_nothing_behind() -> None:
    stream = Terminal()
    with shown(stream, as_json=False) as report:
        report(Progress("resolve"))
        report(Progress("download", "m.gguf", 1_000_000, 4_000_000))
        report(Progress("download", "m.gguf", 3_000_000, 4_000_000, 500_000))
    text = stream.getvalue()
    assert "asking the hub" in text
    assert "25 %, 1.0 MB of 4.0 MB, 0 B/s  downloading m.gguf " in text
    assert "75 %, 3.0 MB of 4.0 MB, 500 kB/s, 2 s left  downloading m.gguf " in text
    assert text.endswith("\r"), "the last line is wiped"


def test_a_bar_is_wiped_when_the_fetch_fails() -> None:
    stream = Terminal()

    def failing() -> None:
        with shown(stream, as_json=False) as report:
            report(Progress("download", "m.gguf", 1, 2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert stream.getvalue().endswith("\r")


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    assert shortened("downloading m.gguf") == "downloading m.gguf"
    short = shortened("downloading " + "x" * 100 + "-Q8_0-00001-of-00002.gguf")
    assert len(short) == 72
    assert short.startswith("downloading xxxxxxxx...x")
    assert short.endswith("-Q8_0-00001-of-00002.gguf")
