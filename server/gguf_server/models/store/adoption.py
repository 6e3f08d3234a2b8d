"""A file that already lies somewhere in the model directory is not downloaded again."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gguf_server.models.foreign import is_plain_file
from gguf_server.models.listing import RemoteFile
from gguf_server.models.progress import CountBytes
from gguf_server.models.store.layout import PARTIALS_NAME
from gguf_server.models.store.store import Store
from gguf_server.models.transfer.hashing import matches


def adopt(
    store: Store, file: RemoteFile, target: Path, report: CountBytes = lambda _: None
) -> bool:
    """True if the file, verified, lies at ``target`` now.

    It is linked there: the one that was found stays where it is. Only what is in large-file storage
    is looked for. ``report`` is told how many bytes of a candidate have been read.
    """
    if not file.sha256 or not file.size_bytes:
        return False
    if _is_file_of(target, file.size_bytes) and _matches(target, file, report):
        return True  # a fetch was stopped before it could say so
    others = _known_hashes(store)
    for path in _of_size(store.root, file.size_bytes):
        is_another = others.get(_identity(path), file.sha256) != file.sha256
        if path != target and not is_another and _matches(path, file, report):
            _link(path, target)
            return True
    return False


Identity = tuple[int, int, int, int]


def _known_hashes(store: Store) -> dict[Identity, str]:
    """Of files that were verified and have not been touched since: enough to pass over those that
    are something else, and not enough to believe one that is what we look for.
    """
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


def _matches(path: Path, file: RemoteFile, report: CountBytes) -> bool:
    """Not where it cannot be read: it may be somebody else's."""
    try:
        return matches(path, file, report)
    except OSError:
        return False


def _is_file_of(path: Path, size_bytes: int) -> bool:
    with contextlib.suppress(OSError):
        return is_plain_file(path) and path.stat().st_size == size_bytes
    return False


def _link(path: Path, target: Path) -> None:
    """A hard link, else a relative symbolic one: some file systems have no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}.link")  # short: the name may be as long as it can
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(path)
    except OSError:
        temporary.symlink_to(os.path.relpath(path, target.parent))
    temporary.replace(target)
