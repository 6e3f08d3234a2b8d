"""Whether a file is in the page cache: put there, or taken out, and looked at afterwards."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

_READ_BYTES = 1 << 20


def fill(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass


def drop(path: Path) -> None:
    """Nothing else goes. The kernel keeps what is mapped somewhere or not yet written."""
    if not hasattr(os, "posix_fadvise"):  # not Linux
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def resident_share(path: Path) -> float | None:
    """From 0 to 1; None where the kernel does not tell."""
    if sys.platform != "linux" or not path.stat().st_size:
        return None
    with path.open("rb") as file:
        # A private copy: only a writable mapping has an address for ctypes. Nothing is read.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        return _resident_share(mapped)
    finally:
        mapped.close()


def _resident_share(mapped: mmap.mmap) -> float | None:
    num_pages = -(-len(mapped) // mmap.PAGESIZE)
    seen = (ctypes.c_ubyte * num_pages)()
    first = ctypes.c_ubyte.from_buffer(mapped)
    address, length = ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(mapped))
    del first  # or the mapping could not be closed
    if ctypes.CDLL(None).mincore(address, length, seen):
        return None
    return sum(flags & 1 for flags in seen) / num_pages
