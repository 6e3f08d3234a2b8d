"""Which bytes of a partial file are there: a counter for each piece, behind the file's own end.

A counter is advanced after its bytes were written, so it survives a kill: both are in the page
cache. It does not survive a power cut, nor is another machine sure to see them together. For those
there is a second counter, advanced only after the data were flushed; which one counts is told by
the boot id. In one file, data and ledger change hands by one rename.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gguf_server.models.transfer.pieces import num_pieces, piece_range, piece_size

_HEAD_BYTES = 4096  # the last of the file
_COUNTER_BYTES = 8
_FORMAT = 1


class _Head(msgspec.Struct):
    """Padded with spaces: it is rewritten in place."""

    size_bytes: int
    boot_id: str
    etag: str = ""
    format: int = _FORMAT


class Ledger:
    """Of an open partial file. One process writes it; its threads each advance their own pieces."""

    def __init__(self, number: int, head: _Head) -> None:
        self._head = head
        self._piece_bytes = piece_size(head.size_bytes)
        self.num_pieces = num_pieces(head.size_bytes, self._piece_bytes)
        start = _start(head.size_bytes)
        self._map = mmap.mmap(number, _length(head.size_bytes) - start, offset=start)
        self._counters = memoryview(self._map)[:-_HEAD_BYTES].cast("Q")
        self._first_open = 0

    @classmethod
    def create(
        cls, number: int, size_bytes: int, boot_id: str, *, is_whole: bool = False
    ) -> "Ledger":
        """Nothing is there, or all. Written whole now: a full disk must not fault a counter."""
        start = _start(size_bytes)
        counters = bytes(_length(size_bytes) - start - _HEAD_BYTES)
        head = _Head(size_bytes, boot_id)
        if not is_whole:
            os.ftruncate(number, 0)
        os.pwrite(number, counters + _encoded(head), start)
        ledger = cls(number, head)
        for index in range(ledger.num_pieces if is_whole else 0):
            ledger.advance(index, len(ledger.piece(index)))
        return ledger

    @classmethod
    def resume(cls, number: int, size_bytes: int, boot_id: str) -> "Ledger | None":
        """Another process's, continued; None if it is damaged or about another file."""
        head = _read_head(number)
        if head is None or head.size_bytes != size_bytes:
            return None
        ledger = cls(number, head)
        ledger._continue(boot_id)
        return ledger

    def close(self) -> None:
        """May be repeated."""
        self._counters.release()
        self._map.close()

    @property
    def etag(self) -> str:
        """What the server called the bytes that are there; empty if it did not say."""
        return self._head.etag

    @etag.setter
    def etag(self, etag: str) -> None:
        self._head.etag = etag
        self._write_head()

    def piece(self, index: int) -> range:
        return piece_range(index, self._head.size_bytes, self._piece_bytes)

    def index_at(self, offset: int) -> int:
        return offset // self._piece_bytes

    def arrived(self, index: int) -> int:
        """Bytes of the piece that are there, from its start."""
        return self._counters[2 * index]

    def advance(self, index: int, count: int) -> None:
        """So many more bytes have been written."""
        self._counters[2 * index] += count

    def is_whole(self, index: int) -> bool:
        return self.arrived(index) == len(self.piece(index))

    @property
    def num_bytes(self) -> int:
        """There, in all pieces."""
        return sum(self.snapshot())

    def frontier(self) -> int:
        """From the start of the file up to here everything is there."""
        while self._first_open < self.num_pieces and self.is_whole(self._first_open):
            self._first_open += 1
        if self._first_open == self.num_pieces:
            return self._head.size_bytes
        return self.piece(self._first_open).start + self.arrived(self._first_open)

    def snapshot(self) -> Sequence[int]:
        """To be confirmed once the data have been flushed."""
        return self._counters.tolist()[::2]

    def confirm(self, snapshot: Sequence[int]) -> None:
        for index, count in enumerate(snapshot):
            self._counters[2 * index + 1] = count

    def _continue(self, boot_id: str) -> None:
        """On another machine, or after its restart, only what was flushed is there for sure."""
        second = 0 if self._head.boot_id == boot_id else 1
        for index in range(self.num_pieces):
            count = self._counters[2 * index + second]
            self._counters[2 * index] = min(count, len(self.piece(index)))
        self._head.boot_id = boot_id
        self._write_head()

    def _write_head(self) -> None:
        self._map[-_HEAD_BYTES:] = _encoded(self._head)


def peek(path: Path, boot_id: str) -> tuple[int, str]:
    """Of somebody's partial file: bytes that whoever has this boot id would find there, and the
    boot id of its owner. Nothing if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = _read_head(file.fileno())
            if head is None:
                return 0, ""
            start = _start(head.size_bytes)
            length = _length(head.size_bytes) - start - _HEAD_BYTES
            counters = memoryview(os.pread(file.fileno(), length, start)).cast("Q")
            second = 0 if head.boot_id == boot_id else 1
            return sum(counters.tolist()[second::2]), head.boot_id
    except (OSError, TypeError):
        return 0, ""


def _read_head(number: int) -> _Head | None:
    length = os.fstat(number).st_size
    if length < _HEAD_BYTES:
        return None
    try:
        head = msgspec.json.decode(os.pread(number, _HEAD_BYTES, length - _HEAD_BYTES), type=_Head)
    except msgspec.MsgspecError:
        return None
    is_sound = head.format == _FORMAT and head.size_bytes >= 0
    return head if is_sound and length == _length(head.size_bytes) else None


def _encoded(head: _Head) -> bytes:
    return msgspec.json.encode(head).ljust(_HEAD_BYTES)[:_HEAD_BYTES]


def _start(size_bytes: int) -> int:
    """Where it may be mapped, the file being mapped by pages."""
    page = mmap.ALLOCATIONGRANULARITY
    return -(-size_bytes // page) * page


def _length(size_bytes: int) -> int:
    """Of the partial file."""
    count = num_pieces(size_bytes, piece_size(size_bytes))
    return _start(size_bytes) + 2 * _COUNTER_BYTES * count + _HEAD_BYTES
