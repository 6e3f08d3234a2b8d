"""Text that comes in pieces, read as if it were whole. Pure.

A reader is a generator: it suspends while the next step is uncertain and goes on when more text
is there. Every method consumes what it has looked at, except for less than a marker's length, so
that reading takes linear time however the text is cut.
"""

import re
from collections.abc import Callable, Generator
from functools import lru_cache

from gguf_server.prompt.json_object import ObjectScan

Sink = Callable[[str], None]

_SPACES = re.compile(r"\s*")


class Scanner:
    """What is known of a text, and how much of it was consumed."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._ended = False

    def feed(self, text: str) -> None:
        self._text = self._text[self._at :] + text
        self._at = 0

    def end(self) -> None:
        """No more text comes: what is uncertain is decided by what is there."""
        self._ended = True

    def rest(self, sink: Sink) -> Generator[None]:
        """Everything, as it comes."""
        while True:
            if self._at < len(self._text):
                sink(self._take(len(self._text)))
            if self._ended:
                return
            yield

    def until(self, markers: tuple[str, ...], sink: Sink) -> Generator[None, None, str]:
        """The text before the first of ``markers``, and which one it is ("" when none comes)."""
        pattern = _marker_pattern(markers)
        while True:
            found = pattern.search(self._text, self._at)
            before = self._take(found.start() if found else len(self._text))
            if before:
                sink(before)
            if found and found.group() in markers:
                return self._take(found.end())
            if self._ended:
                sink(self._take(len(self._text)))
                return ""
            yield

    def spaces(self) -> Generator[None, None, str]:
        return self.run(_SPACES)

    def run(self, characters: re.Pattern[str]) -> Generator[None, None, str]:
        """What comes next of these characters; the pattern must match any number of them."""
        kept = []
        while True:
            found = characters.match(self._text, self._at)
            assert found is not None
            kept.append(self._take(found.end()))
            if self._at < len(self._text) or self._ended:
                return "".join(kept)
            yield

    def match(self, *literals: str) -> Generator[None, None, str]:
        """Which of ``literals`` comes next, consumed; "" and nothing consumed if none does."""
        while True:
            for literal in literals:
                if self._text.startswith(literal, self._at):
                    return self._take(self._at + len(literal))
            if self._ended or not any(map(self._may_become, literals)):
                return ""
            yield

    def json_object(self, seen: str = "") -> Generator[None, None, tuple[str, bool]]:
        """What could be a JSON object that starts here (or with ``seen``), and whether it is whole.

        It stops at the first character that no JSON has there.
        """
        scan = ObjectScan()
        scan.feed(seen, 0)
        kept = [seen]
        while True:
            kept.append(self._take(scan.feed(self._text, self._at)))
            if scan.is_over or self._ended:
                return "".join(kept), scan.is_whole
            yield

    def cut_off(self, literal: str) -> bool:
        """Whether the text ends before ``literal`` does; the part that is there is consumed."""
        cut = self._ended and self._may_become(literal)
        if cut:
            self._take(len(self._text))
        return cut

    def _may_become(self, literal: str) -> bool:
        num_left = len(self._text) - self._at
        return num_left < len(literal) and literal.startswith(self._text[self._at :])

    def _take(self, end: int) -> str:
        taken = self._text[self._at : end]
        self._at = end
        return taken


@lru_cache(maxsize=64)
def _marker_pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the first marker, or the end of the text that may become one."""
    whole = "|".join(map(re.escape, markers))
    begun = "|".join(map(_beginning, markers))
    return re.compile(rf"{whole}|(?:{begun})\Z")


def _beginning(marker: str) -> str:
    """A pattern of every proper beginning of ``marker``, longest first."""
    pattern = ""
    for character in reversed(marker[:-1]):
        pattern = re.escape(character) + (f"(?:{pattern})?" if pattern else "")
    return pattern
