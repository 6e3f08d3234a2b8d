"""Cutting a text at its special tokens, so that its parts have the tokens of the whole.

llama.cpp looks for special tokens in a time that grows with the square of how many there are:
40,000 of them took it 18 s.
"""

import re
from collections.abc import Collection, Sequence
from itertools import groupby, islice, takewhile

_PART_BYTES = 1024
_TRIES = 8
_WHITESPACE = frozenset(b" \t\n\v\f\r")  # what C strips


class SpecialTokens:
    """The spellings that a vocabulary finds in a text before it tokenizes what lies between.

    llama.cpp takes the longest spelling first, wherever it is. So an occurrence is certain if none
    that is as long or longer overlaps it; and behind a certain one, tokenizing starts anew.
    ``strips`` says that some of them take the whitespace around them.
    """

    def __init__(self, spellings: Collection[bytes], *, strips: bool) -> None:
        self._spellings = frozenset(spellings)
        self._lengths = sorted({len(each) for each in spellings})
        self._strips = strips
        self._pattern = re.compile(one_of(sorted(spellings)) or b"(?!)")

    def count(self, text: bytes) -> int:
        """How many there are in ``text``, none overlapping another."""
        return sum(1 for _ in self._pattern.finditer(text))

    def parts(self, text: bytes) -> list[bytes]:
        """``text`` in parts of about a kilobyte, where it can be cut."""
        parts, start = [], 0
        position = _PART_BYTES
        while position < len(text):
            cut, position = self._cut_after(text, position)
            if cut is not None:
                parts.append(text[start:cut])
                start = cut
        return [*parts, text[start:]]

    def _cut_after(self, text: bytes, position: int) -> tuple[int | None, int]:
        """Where to cut, if anywhere near; and where to go on."""
        found = None
        for found in islice(self._pattern.finditer(text, position), _TRIES):
            if self._is_certain(text, found.start(), found.end()):
                return found.end(), found.end() + _PART_BYTES
        return None, len(text) if found is None else found.end() + _PART_BYTES

    def _is_certain(self, text: bytes, start: int, end: int) -> bool:
        if self._strips and _WHITESPACE & {text[start], text[end - 1], *text[end : end + 1]}:
            return False
        as_long = [length for length in self._lengths if length >= end - start]
        return not any(
            text[other : other + length] in self._spellings
            for length in as_long
            for other in range(max(0, start - length + 1), end)
            if (other, other + length) != (start, end)
        )


def one_of(texts: Sequence[bytes]) -> bytes:
    """A pattern of the longest of these sorted texts; a beginning they share is tried once."""
    branches = []
    for _, group in groupby((text for text in texts if text), key=lambda text: text[0]):
        similar = list(group)
        shared = _shared_beginning(similar[0], similar[-1])
        rest = one_of([text[len(shared) :] for text in similar])
        branches.append(re.escape(shared) + rest)
    if not branches:
        return b""
    optional = b"?" if b"" in texts else b""
    return b"(?:" + b"|".join(branches) + b")" + optional


def _shared_beginning(one: bytes, other: bytes) -> bytes:
    pairs = zip(one, other, strict=False)
    return bytes(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
