"""Is this a file that can be served? The cheap questions, asked before a process is started."""

import os
from pathlib import Path

from gguf_server.errors import ModelFileError

_MAGIC = b"GGUF"


def check_model_file(path: Path) -> None:
    """Raises ``ModelFileError`` with what is wrong and what to do."""
    if path.is_dir():
        msg = f"{path} is a directory; name the .gguf file in it"
        raise ModelFileError(msg)
    if not path.exists():
        msg = f"{path} does not exist; give the path of a GGUF file"
        raise ModelFileError(msg)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            size_bytes = os.fstat(file.fileno()).st_size
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}; check its permissions"
        raise ModelFileError(msg) from None
    if size_bytes == 0:
        msg = f"{path} is empty; download it again"
        raise ModelFileError(msg)
    if magic != _MAGIC:
        msg = f"{path} is not a GGUF file: it starts with {magic!r}, not {_MAGIC!r}"
        raise ModelFileError(msg)
