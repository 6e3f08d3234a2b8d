"""What there is to know of a disk beside reading and writing."""

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(exc: OSError) -> bool:
    """The disk, a quota, or what a file may be."""
    return exc.errno in _FULL


def sync_directory(directory: Path) -> None:
    """The names that are in it now outlive a power cut."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
