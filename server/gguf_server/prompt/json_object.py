"""Where a JSON object ends, found while its text is still coming. Pure."""

import re

_MAX_DEPTH = 128
_BETWEEN = re.compile(r"[\s\d:,.+\-Ea-z]*")
_IN_STRING = re.compile(r'[^"\\\x00-\x1f]*')
_CLOSERS = {"{": "}", "[": "]"}


class ObjectScan:
    """Follows strings and brackets. Whether all else is right is for a JSON parser to say."""

    def __init__(self) -> None:
        self.is_whole = False
        self.is_over = False
        self._open: list[str] = []
        self._in_string = False
        self._escaped = False

    def feed(self, text: str, at: int) -> int:
        """Where the object ends in ``text``, or breaks off, or the end of ``text``."""
        while at < len(text) and not self.is_over:
            if self._open:
                at = self._skip(text, at)
            if at < len(text) and self._accept(text[at]):
                at += 1
        return at

    def _skip(self, text: str, at: int) -> int:
        if self._escaped:
            return at
        found = (_IN_STRING if self._in_string else _BETWEEN).match(text, at)
        assert found is not None
        return found.end()

    def _accept(self, character: str) -> bool:
        """Whether the character belongs to the object."""
        if self._escaped:
            self._escaped = False
        elif self._in_string and character == "\\":
            self._escaped = True
        elif character == '"' and self._open:
            self._in_string = not self._in_string
        elif self._in_string or not self._bracket(character):
            self.is_over = True
            return False
        return True

    def _bracket(self, character: str) -> bool:
        if character == "{" or (character == "[" and self._open):
            self._open.append(_CLOSERS[character])
            return len(self._open) <= _MAX_DEPTH
        if not self._open or character != self._open.pop():
            return False
        self.is_whole = self.is_over = not self._open
        return True
