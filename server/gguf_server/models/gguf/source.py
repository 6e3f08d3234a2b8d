"""Bytes of a file, here or far away, by offset."""

import os
from pathlib import Path
from typing import Protocol, Self

from gguf_server.errors import ModelFileError


class ByteSource(Protocol):
    """``read`` gives what there is from ``offset``: at least ``count`` bytes, or up to the end."""

    @property
    def name(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    def read(self, offset: int, count: int) -> bytes: ...


class FileBytes:
    """A local file, open until it is closed."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._number = os.open(path, os.O_RDONLY)
            self.size_bytes = os.fstat(self._number).st_size
        except OSError as exc:
            msg = f"{path} cannot be read: {exc.strerror}; check the path and its permissions"
            raise ModelFileError(msg) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._number)

    def read(self, offset: int, count: int) -> bytes:
        try:
            return os.pread(self._number, count, offset)
        except OSError as exc:
            msg = f"{self.name} cannot be read: {exc.strerror}"
            raise ModelFileError(msg) from None
