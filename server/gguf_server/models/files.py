"""Is this a file that can be served? Asked before a process is started, of its header alone."""

import stat
from pathlib import Path

from gguf_server.errors import ModelFileError
from gguf_server.models.gguf.description import describe
from gguf_server.models.gguf.split import read_headers

_MAGIC = b"GGUF"


def check_model_file(path: Path) -> None:
    """A model, all of it, and all parts of a split. Raises ``ModelFileError`` with what is wrong
    and what to do.
    """
    check_gguf_file(path)
    if unservable := describe(read_headers(path)).unservable:
        raise ModelFileError(f"{path} {unservable}")


def check_gguf_file(path: Path) -> None:
    """Does it begin like one? Raises ``ModelFileError``."""
    try:
        status = path.stat()
        magic = _first_bytes(path) if stat.S_ISREG(status.st_mode) else b""
    except (FileNotFoundError, NotADirectoryError):
        msg = f"{path} does not exist; give the path of a GGUF file"
        raise ModelFileError(msg) from None
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}; check the path and its permissions"
        raise ModelFileError(msg) from None
    if stat.S_ISDIR(status.st_mode):
        msg = f"{path} is a directory; name the .gguf file in it"
        raise ModelFileError(msg)
    if not stat.S_ISREG(status.st_mode):
        msg = f"{path} is not a regular file; give the path of a GGUF file"
        raise ModelFileError(msg)
    if status.st_size == 0:
        msg = f"{path} is empty; download it again"
        raise ModelFileError(msg)
    if magic != _MAGIC:
        msg = f"{path} is not a GGUF file: it starts with {magic!r}, not {_MAGIC!r}"
        raise ModelFileError(msg)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_MAGIC))
