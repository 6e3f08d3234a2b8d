"""What fetches left behind, and which repositories are being fetched now."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gguf_server.models.foreign import is_plain_file
from gguf_server.models.store.cleaning import Rest
from gguf_server.models.store.layout import (
    BLOCK_BYTES,
    LEASE_NAME,
    MANIFEST_NAME,
    PARTIALS_NAME,
    repository_directories,
    repository_name,
    revision_directories,
)
from gguf_server.models.store.store import Store
from gguf_server.models.transfer.lease import is_held


def our_repositories(store: Store) -> list[str]:
    """``org/repo`` of each that a fetch made."""
    paths = [each.directory for each in store.revisions()]
    paths += [*_partials(store.root), *_unpublished(store)]
    return sorted({repository_name(store.root, path) for path in paths})


def busy_repositories(store: Store) -> frozenset[str]:
    """Those whose lease somebody holds."""
    names = our_repositories(store)
    return frozenset(name for name in names if is_held(store.root / name / LEASE_NAME))


def rests(store: Store, busy: frozenset[str]) -> list[Rest]:
    """Partial files, and revisions that were never published; not those of busy repositories."""
    found = []
    for path in (*_partials(store.root), *_unpublished(store)):
        if repository_name(store.root, path) not in busy:
            with suppress(OSError):
                found.append(_rest(path))
    return found


def partials(store: Store) -> list[Rest]:
    """What has not wholly arrived, whoever may be fetching it."""
    found = []
    for path in _partials(store.root):
        with suppress(OSError):
            found.append(_rest(path))
    return found


def foreign_models(store: Store) -> list[tuple[Path, int]]:
    """GGUF files that no fetch put there, the flat layout of other tools; with their bytes."""
    ours = set(revision_directories(store.root))
    found = []
    for directory, names, files in os.walk(store.root):
        at = Path(directory)
        names[:] = sorted(name for name in names if name != PARTIALS_NAME and at / name not in ours)
        for path in (at / name for name in sorted(files) if name.lower().endswith(".gguf")):
            with suppress(OSError):
                if path.is_file():
                    found.append((path, path.stat().st_size))
    return found


def unreadable(store: Store) -> list[Rest]:
    """Revisions whose manifest is damaged, or a later version's. They stay as they are."""
    found = []
    for directory in revision_directories(store.root):
        if (directory / MANIFEST_NAME).exists() and store.revision(directory) is None:
            with suppress(OSError):
                found.append(_rest(directory))
    return found


def _partials(root: Path) -> Iterator[Path]:
    """Files, nothing else, and not behind a link."""
    for repository in repository_directories(root):
        directory = repository / PARTIALS_NAME
        if directory.is_dir() and not directory.is_symlink():
            with suppress(OSError):
                yield from sorted(each for each in directory.iterdir() if is_plain_file(each))


def _unpublished(store: Store) -> Iterator[Path]:
    for directory in revision_directories(store.root):
        if not (directory / MANIFEST_NAME).exists():
            yield directory


def _rest(path: Path) -> Rest:
    """Sizes are what they take on the disk: partial files have holes."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    states = [each.lstat() for each in paths]
    files = [each for each in states if not stat.S_ISDIR(each.st_mode)]
    return Rest(
        path,
        sum(each.st_blocks * BLOCK_BYTES for each in files),
        max(each.st_mtime for each in states),
    )
