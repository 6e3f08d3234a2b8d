"""Bytes of tokens to text a client may see: whole UTF-8 characters, and no stop string. Pure."""

import codecs
from collections.abc import Sequence

_decoder = codecs.getincrementaldecoder("utf-8")


class TextStream:
    """The text of one sequence. A character or stop string cut by a token boundary is held back."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._stop = tuple(stop)
        self._decoder = _decoder("replace")
        self._held = ""

    def push(self, piece: bytes) -> str:
        """The text that became certain with these bytes; sets ``stopped`` at a stop string."""
        text = self._decoder.decode(piece)
        return self._release(text) if self._stop else text

    def flush(self) -> str:
        """What is still held back when no more bytes will come."""
        text = self._decoder.decode(b"", final=True)
        if not self._stop:
            return text
        text = self._release(text)
        held, self._held = self._held, ""
        return text + held

    def _release(self, text: str) -> str:
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            # The one that is complete first: however tokens cut the text, the answer is the same.
            _, at = min(found)
            self.stopped = True
            self._held = ""
            return text[:at]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop`` without being all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
