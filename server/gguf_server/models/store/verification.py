"""Is a file still the one whose hash was checked?"""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from gguf_server.models.store.manifest import StoredFile
from gguf_server.models.transfer.hashing import sha256_of

Report = Callable[[int], None]


class Check(Enum):
    """``TOUCHED``: same size, another time. A volume that was restored looks so."""

    VERIFIED = "verified"
    TOUCHED = "touched"
    BROKEN = "broken"
    MISSING = "missing"


def check(directory: Path, file: StoredFile) -> Check:
    """By its status alone."""
    try:
        status = (directory / file.path).stat()
    except OSError:
        return Check.MISSING
    if status.st_size != file.size_bytes:
        return Check.BROKEN
    return Check.VERIFIED if status.st_mtime_ns == file.modified_ns else Check.TOUCHED


def check_again(directory: Path, file: StoredFile, report: Report = lambda _: None) -> bool:
    """By reading all of it."""
    try:
        return sha256_of(directory / file.path, report) == file.sha256
    except OSError:
        return False
