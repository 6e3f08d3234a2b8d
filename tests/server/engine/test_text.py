"""Text as it becomes certain: no half characters, no part of a stop string, whatever the cuts."""

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gguf_server.engine.text import TextStream

# Few letters, so that stop strings overlap with the text and with each other; 1 to 4 bytes each.
LETTERS = st.text("abé€𝄞", max_size=12)
STOPS = st.lists(st.text("abé€𝄞", min_size=1, max_size=4), max_size=3)
CUTS = st.lists(st.integers(0, 48), max_size=12)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def stream(pieces: list[bytes], stop: list[str]) -> tuple[list[str], bool]:
    """What the loop does: push until the stream has stopped, flush when it did not."""
    text = TextStream(stop)
    pushed = []
    for piece in pieces:
        pushed.append(text.push(piece))
        if text.stopped:
            return pushed, True
    pushed.append(text.flush())
    return pushed, text.stopped


def cut_at_first_stop(text: str, stop: list[str]) -> str:
    """``text`` before the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        starts = [end - len(each) for each in stop if text[:end].endswith(each)]
        if starts:
            return text[: min(starts)]
    return text


@settings(max_examples=500, deadline=None)
@given(text=LETTERS, cuts=CUTS, stop=STOPS)
@example(text="abba", cuts=[], stop=["bb", "abba"])  # the inner one is complete first
@example(text="abba", cuts=[1, 2, 3], stop=["bb", "abba"])
def test_any_cut_of_the_bytes_gives_the_text_before_the_stop_string_that_ends_first(
    text: str, cuts: list[int], stop: list[str]
) -> None:
    pushed, stopped = stream(pieces_of(text.encode(), cuts), stop)
    wanted = cut_at_first_stop(text, stop)
    assert "".join(pushed) == wanted
    assert stopped == (wanted != text)


@settings(max_examples=500, deadline=None)
@given(text=LETTERS, cuts=CUTS, stop=STOPS)
def test_nothing_is_ever_sent_that_has_to_be_taken_back(
    text: str, cuts: list[int], stop: list[str]
) -> None:
    pushed, _ = stream(pieces_of(text.encode(), cuts), stop)
    wanted = cut_at_first_stop(text, stop)
    sent = ""
    for each in pushed:
        sent += each
        assert wanted.startswith(sent)
        assert "\ufffd" not in sent


@given(data=st.binary(max_size=24), cuts=CUTS)
def test_bytes_that_are_no_utf8_become_replacement_characters_whatever_the_cuts(
    data: bytes, cuts: list[int]
) -> None:
    pushed, _ = stream(pieces_of(data, cuts), [])
    assert "".join(pushed) == data.decode("utf-8", "replace")


@given(text=LETTERS, cuts=CUTS)
def test_without_stop_strings_only_a_cut_character_is_held_back(text: str, cuts: list[int]) -> None:
    stream, received = TextStream(), b""
    sent = ""
    for piece in pieces_of(text.encode(), cuts):
        received += piece
        sent += stream.push(piece)
        assert sent == received.decode("utf-8", "ignore")


def test_text_that_cannot_begin_a_stop_string_is_not_held_back() -> None:
    text = TextStream(["STOP"])
    assert text.push(b"hello S") == "hello "
    assert text.push(b"O") == "SO"


def test_a_stop_string_may_come_in_many_pieces() -> None:
    text = TextStream(["<|end|>"])
    assert [text.push(bytes([byte])) for byte in b"a<|end|>"] == ["a"] + [""] * 7
    assert text.stopped


def test_a_character_that_is_never_completed_is_replaced_at_the_end() -> None:
    text = TextStream()
    assert text.push("é".encode()[:1]) == ""
    assert text.flush() == "\ufffd"


def test_an_unfinished_stop_string_is_text_after_all_when_the_answer_ends() -> None:
    text = TextStream(["END"])
    assert text.push(b"the EN") == "the "
    assert text.flush() == "EN"
    assert not text.stopped
