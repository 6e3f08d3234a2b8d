"""Reading forward through a file of which only a stretch is in memory."""

import struct

from gguf_server.errors import ModelFileError
from gguf_server.models.gguf.source import ByteSource

MAX_HEADER_BYTES = 64 << 20  # as llama.cpp's own reader of far-away headers
_LEAST_WINDOW_BYTES = 64 << 10
_MOST_WINDOW_BYTES = 2 << 20


class Cursor:
    """Every read is checked against the file's end and the greatest length of a header."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._window = b""
        self._start = 0
        self._next_window_bytes = _LEAST_WINDOW_BYTES
        self.offset = 0

    def fail(self, what: str) -> ModelFileError:
        """The error to raise."""
        return ModelFileError(f"{self._source.name}: {what}; it is damaged, download it again")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        at = self._ensure(count)
        self.offset += count
        return self._window[at : at + count]

    def number(self, code: str) -> int | float | bool:
        """The next number, as ``struct`` calls its type."""
        count = struct.calcsize("<" + code)
        at = self._ensure(count)
        self.offset += count
        [value] = struct.unpack_from("<" + code, self._window, at)
        return value  # type: ignore[no-any-return]

    def count(self) -> int:
        """The next length or number of things."""
        return int(self.number("Q"))

    def skip(self, count: int) -> None:
        self._check(count)
        self.offset += count

    def skip_strings(self, count: int) -> None:
        """So many strings, none of them kept. A loop over what is in memory: there are 100,000s."""
        unpack = struct.Struct("<Q").unpack_from
        while count:
            at = self._ensure(8)
            window, end = self._window, len(self._window) - 8
            begun = at
            while count and at <= end:
                [length] = unpack(window, at)
                if length > MAX_HEADER_BYTES:
                    raise self.fail(f"a string of {length} bytes at {self._start + at}")
                at += 8 + length
                count -= 1
            self.skip(at - begun)

    def _check(self, count: int) -> None:
        end = self.offset + count
        if end > self._source.size_bytes:
            size = self._source.size_bytes
            raise self.fail(f"it ends at {size} bytes, within its header")
        if end > MAX_HEADER_BYTES:
            raise self.fail(f"its header is longer than {MAX_HEADER_BYTES >> 20} MiB")

    def _ensure(self, count: int) -> int:
        """Have so many bytes in memory; where they start in the window."""
        self._check(count)
        at = self.offset - self._start
        if at + count > len(self._window):
            self._load(max(count, self._next_window_bytes))
            at = 0
            if count > len(self._window):
                raise self.fail(f"it could not be read at {self.offset}")
        return at

    def _load(self, count: int) -> None:
        wanted = min(count, self._source.size_bytes - self.offset)
        self._window = self._source.read(self.offset, wanted)
        self._start = self.offset
        self._next_window_bytes = min(2 * count, _MOST_WINDOW_BYTES)
