"""A file with a model's header and a hole where its weights would be: enough to measure it."""

import os
from pathlib import Path

from gguf_server.models.gguf.header import Header
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import ByteSource


class _Kept:
    """A ``ByteSource`` that writes down what is read of another one."""

    def __init__(self, source: ByteSource, number: int) -> None:
        self.name = source.name
        self.size_bytes = source.size_bytes
        self._source = source
        self._number = number
        self._kept: list[tuple[int, int]] = []

    def read(self, offset: int, count: int) -> bytes:
        data = self._source.read(offset, count)
        os.pwrite(self._number, data, offset)
        self._kept.append((offset, offset + len(data)))
        return data

    def fill(self, end: int) -> None:
        """Read what was passed over before ``end``."""
        at = 0
        for start, stop in sorted(self._kept):
            if at < start < end:
                self.read(at, start - at)
            at = max(at, stop)
        if at < end:
            self.read(at, end - at)


def write_sparse(source: ByteSource, path: Path) -> Header:
    """Of the true size, with next to nothing on the disk. Raises ``ModelFileError``."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        kept = _Kept(source, number)
        header = read_header(kept)
        kept.fill(header.data_offset)
        os.ftruncate(number, source.size_bytes)
    finally:
        os.close(number)
    return header
