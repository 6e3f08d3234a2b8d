"""Is there room? Asked before the first byte."""

import os
from pathlib import Path

from gguf_server.errors import DiskFull, StorageUnusable
from gguf_server.models.sizes import human_bytes


def check_space(directory: Path, needed_bytes: int) -> None:
    """Raises ``DiskFull``. What partial files hold already is no longer needed."""
    free = free_bytes(directory)
    if needed_bytes > free:
        msg = (
            f"{human_bytes(needed_bytes)} are needed in {directory} and {human_bytes(free)} are"
            f" free: make room for {human_bytes(needed_bytes - free)} more (gguf-server clean shows"
            " what may go), or choose a smaller quantization with --max-bytes"
        )
        raise DiskFull(msg)


def free_bytes(directory: Path) -> int:
    """For us; root has some more. The directory need not exist yet."""
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        status = os.statvfs(existing)
    except OSError as exc:
        msg = f"{existing} cannot be used for models: {exc.strerror}"
        raise StorageUnusable(msg) from None
    return status.f_bavail * status.f_frsize
