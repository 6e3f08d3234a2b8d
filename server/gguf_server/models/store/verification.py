"""Is a file still the one whose hash was checked?"""

from enum import Enum
from pathlib import Path

from gguf_server.models.progress import CountBytes
from gguf_server.models.store.manifest import StoredFile
from gguf_server.models.transfer.hashing import sha256_of


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


def check_again(directory: Path, file: StoredFile, report: CountBytes) -> bool:
    """By reading all of it; ``report`` is told how many bytes have been read."""
    try:
        return sha256_of(directory / file.path, report) == file.sha256
    except OSError:
        return False
