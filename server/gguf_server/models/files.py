"""Is this a file that can be served? The cheap questions, asked before a process is started."""

import stat
from pathlib import Path

from gguf_server.errors import ModelFileError

_MAGIC = b"GGUF"


def check_model_file(path: Path) -> None:
    """Raises ``ModelFileError`` with what is wrong and what to do."""
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
