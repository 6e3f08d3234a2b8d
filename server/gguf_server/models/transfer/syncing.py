"""Names that outlive a power cut."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Those that are in it now."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
