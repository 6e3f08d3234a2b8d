"""A file that already lies somewhere in the model directory is not downloaded again."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from gguf_server.models.listing import RemoteFile
from gguf_server.models.store.layout import PARTIALS_NAME
from gguf_server.models.store.store import Store
from gguf_server.models.transfer.hashing import matches

Report = Callable[[int], None]


def adopt(store: Store, file: RemoteFile, target: Path, report: Report = lambda _: None) -> bool:
    """True if the file, verified, lies at ``target`` now.

    It is linked there: the one that was found stays where it is. Only what is in large-file storage
    is looked for. ``report`` is told how many bytes of a candidate have been read.
    """
    if not file.sha256 or not file.size_bytes:
        return False
    if _is_file_of(target, file.size_bytes) and matches(target, file, report):
        return True  # a fetch was stopped before it could say so
    known = _known_hashes(store)
    for path in _of_size(store.root, file.size_bytes):
        sha256 = known.get(_identity(path))
        if path == target or (sha256 is not None and sha256 != file.sha256):
            continue
        if sha256 == file.sha256 or matches(path, file, report):
            _link(path, target)
            return True
    return False


Identity = tuple[int, int, int, int]


def _known_hashes(store: Store) -> dict[Identity, str]:
    """Of files that were verified and have not been touched since."""
    known = {}
    for revision in store.revisions():
        for file in revision.manifest.files:
            with contextlib.suppress(OSError):
                identity = _identity(revision.directory / file.path)
                if identity[2:] == (file.size_bytes, file.modified_ns):
                    known[identity] = file.sha256
    return known


def _identity(path: Path) -> Identity:
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _of_size(root: Path, size_bytes: int) -> Iterator[Path]:
    """Regular files of this size, no links; each is there when it is yielded."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != PARTIALS_NAME)
        for name in sorted(files):
            path = Path(directory, name)
            if _is_file_of(path, size_bytes):
                yield path


def _is_file_of(path: Path, size_bytes: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


def _link(path: Path, target: Path) -> None:
    """A hard link, else a relative symbolic one: some file systems have no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.link")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(path)
    except OSError:
        temporary.symlink_to(os.path.relpath(path, target.parent))
    temporary.replace(target)
