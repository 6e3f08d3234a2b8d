"""The pure parts: pieces, answers, pauses, the ledger."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.models.retry import pause_seconds, retry_after_seconds
from gguf_server.models.transfer.answer import Meaning, understand
from gguf_server.models.transfer.ledger import Ledger, peek
from gguf_server.models.transfer.pieces import num_pieces, piece_range, piece_size

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@given(st.integers(0, 10**13))
def test_pieces_cover_a_file_once(size_bytes: int) -> None:
    piece = piece_size(size_bytes)
    count = num_pieces(size_bytes, piece)
    assert 1 << 20 <= piece <= 16 << 20
    ends = [piece_range(index, size_bytes, piece) for index in (0, count - 1) if count]
    assert not ends or (ends[0].start, ends[-1].stop) == (0, size_bytes)
    assert sum(len(each) for each in ends) <= size_bytes or count == 1


@pytest.mark.parametrize(
    ("status", "headers", "meaning"),
    [
        (206, {"content-range": "bytes 10-19/100", "etag": '"a"'}, Meaning.PART),
        (206, {"content-range": "bytes 10-14/100"}, Meaning.PART),
        (206, {"content-range": "bytes 10-19/*"}, Meaning.PART),
        (206, {"content-range": f"bytes 10-{'1' * 5000}/100"}, Meaning.LATER),
        (206, {"content-range": "bytes 11-19/100"}, Meaning.LATER),
        (206, {"content-range": "bytes 10-20/100"}, Meaning.LATER),
        (206, {}, Meaning.LATER),
        (206, {"content-range": "bytes 10-19/99"}, Meaning.CHANGED),
        (206, {"content-range": "bytes 10-19/100", "etag": '"b"'}, Meaning.CHANGED),
        (200, {"etag": '"a"'}, Meaning.WHOLE),
        (200, {"etag": '"a"', "content-length": "100"}, Meaning.WHOLE),
        (200, {"etag": '"a"', "content-length": "20"}, Meaning.LATER),
        (200, {"etag": '"b"'}, Meaning.CHANGED),
        (302, {"location": "x"}, Meaning.ELSEWHERE),
        (403, {}, Meaning.ELSEWHERE),
        (416, {}, Meaning.LATER),
        (429, {"retry-after": "7"}, Meaning.LATER),
        (503, {}, Meaning.LATER),
    ],
)
def test_an_answer_means_one_thing(status: int, headers: dict[str, str], meaning: Meaning) -> None:
    assert understand(status, headers, range(10, 20), 100, '"a"').meaning is meaning


def test_pauses_grow_are_spread_and_believe_the_server() -> None:
    assert pause_seconds(1, None, 1.0) == 1.0
    assert pause_seconds(3, None, 0.5) == 2.0
    assert pause_seconds(99, None, 1.0) == 30.0
    assert pause_seconds(1, None, 0.0) == 0.0
    assert pause_seconds(1, 7.0, 0.5) == 7.5
    assert pause_seconds(1, 1e9, 0.0) == 300.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("\u00b2", None),
        ("Wed, 21 Oct 2026 07:28:00 +99999999999999", None),
        ("", None),
    ],
)
def test_a_server_says_when_in_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) == seconds


SIZE = 5_000_001


def open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT)


def test_a_ledger_remembers_what_arrived(tmp_path: Path) -> None:
    number = open_file(tmp_path / "x")
    ledger = Ledger.create(number, SIZE, "boot")
    ledger.advance(0, len(ledger.piece(0)))
    ledger.advance(1, 10)
    ledger.advance(3, 7)
    ledger.etag = '"a"'
    ledger.close()
    again = Ledger.resume(number, SIZE, "boot")
    assert again is not None
    assert again.frontier() == len(again.piece(0)) + 10
    assert (again.num_bytes, again.etag) == (len(again.piece(0)) + 17, '"a"')
    assert peek(tmp_path / "x", "boot") == (again.num_bytes, "boot")
    again.close()
    os.close(number)


def test_after_another_boot_only_what_was_flushed_counts(tmp_path: Path) -> None:
    number = open_file(tmp_path / "x")
    ledger = Ledger.create(number, SIZE, "boot")
    ledger.advance(0, 100)
    ledger.confirm(ledger.snapshot())
    ledger.advance(0, 100)
    ledger.close()
    again = Ledger.resume(number, SIZE, "another")
    assert again is not None
    assert again.num_bytes == 100
    again.close()
    os.close(number)


@given(st.binary(max_size=300), st.integers(0, 10_000))
def test_a_damaged_ledger_is_none(tmp_path_factory, noise: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("ledger") / "x"
    number = open_file(path)
    os.pwrite(number, noise, at)
    ledger = Ledger.resume(number, SIZE, "boot")
    assert ledger is None
    assert peek(path, "boot") == (0, "")
    os.close(number)
