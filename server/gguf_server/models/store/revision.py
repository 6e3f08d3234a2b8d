"""One commit of one repository that is here, and when it was used last."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf_server.models.store.layout import MANIFEST_NAME, USED_NAME
from gguf_server.models.store.manifest import Manifest, StoredFile


@dataclass(frozen=True, slots=True)
class Revision:
    """What its manifest says.

    ``last_used``: by a fetch or by a server that may write, in seconds since 1970.
    """

    directory: Path
    manifest: Manifest
    last_used: float

    def files_of(self, paths: Sequence[str]) -> list[StoredFile]:
        return [file for file in self.manifest.files if file.path in paths]


def touch(directory: Path) -> None:
    """Note that it is used now, in the file itself, not in what a link of that name points at."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    number = os.open(directory / USED_NAME, flags, 0o664)
    try:
        os.utime(number)
    finally:
        os.close(number)


def last_used(directory: Path) -> float:
    for name in (USED_NAME, MANIFEST_NAME):
        with contextlib.suppress(OSError):
            return (directory / name).stat().st_mtime
    return 0.0
