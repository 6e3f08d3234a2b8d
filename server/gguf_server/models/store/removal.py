"""Removing what ``cleaning`` said should go. Stopped half-way, the store is still sound."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Never

import msgspec

from gguf_server.models.store.cleaning import Verdict
from gguf_server.models.store.layout import (
    BLOCK_BYTES,
    LEASE_NAME,
    MANIFEST_NAME,
    PARTIALS_NAME,
    USED_NAME,
)
from gguf_server.models.store.manifest import StoredModel, write_manifest
from gguf_server.models.store.rests import our_repositories
from gguf_server.models.store.store import Store
from gguf_server.models.transfer.lease import Holder, hold


class _Busy(Exception):
    pass


@contextlib.contextmanager
def undisturbed(store: Store) -> Iterator[frozenset[str]]:
    """No fetch starts meanwhile; gives the repositories that are being fetched already.

    Raises ``StorageUnusable`` where nothing may be written.
    """
    busy = set()
    with contextlib.ExitStack() as held:
        for name in our_repositories(store):
            directory = store.root / name
            held.callback(_remove_empty, directory, store.root)  # once the lease is not in it
            try:
                held.enter_context(hold(directory / LEASE_NAME, _give_up))
            except _Busy:
                busy.add(name)
        yield frozenset(busy)


def _give_up(_: Holder) -> Never:
    raise _Busy


def freed_bytes(verdicts: Iterable[Verdict]) -> int:
    """What the disk gets back: a file that has another name elsewhere frees nothing."""
    names: dict[tuple[int, int], int] = {}
    freed = 0
    for path in {path for each in verdicts if each.goes for path in _paths(each)}:
        try:
            status = path.lstat()
        except OSError:
            continue
        identity = (status.st_dev, status.st_ino)
        names[identity] = names.get(identity, 0) + 1
        if names[identity] == status.st_nlink:
            freed += status.st_blocks * BLOCK_BYTES
    return freed


def remove(store: Store, verdicts: Sequence[Verdict]) -> list[str]:
    """What could not be removed, a line each."""
    complaints = []
    for verdict in verdicts:
        if verdict.goes:
            try:
                _remove(store, verdict)
            except OSError as exc:
                complaints.append(f"{exc.filename} cannot be removed: {exc.strerror}")
    return complaints


def _paths(verdict: Verdict) -> list[Path]:
    """The big ones: of a rest everything, of a model its files."""
    if verdict.rest is not None:
        path = verdict.rest.path
        return [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    assert verdict.revision is not None
    assert verdict.model is not None
    return [verdict.revision.directory / path for path in verdict.model.paths]


def _remove(store: Store, verdict: Verdict) -> None:
    if verdict.rest is not None:
        path = verdict.rest.path
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _remove_empty(path.parent, store.root)
    elif verdict.revision is not None and verdict.model is not None:
        _remove_model(store, verdict.revision.directory, verdict.model)


def _remove_model(store: Store, directory: Path, model: StoredModel) -> None:
    """The manifest first: what it does not name is not served, a later fetch finds the files."""
    revision = store.revision(directory)  # anew: it may have lost other models by now
    if revision is None:
        return
    manifest = revision.manifest
    remaining = tuple(each for each in manifest.models if each.paths != model.paths)
    if not remaining:
        (directory / MANIFEST_NAME).unlink()
        gone = [file.path for file in manifest.files] + [USED_NAME]
    else:
        needed = {path for each in remaining for path in each.paths}
        gone = [path for path in model.paths if path not in needed]
        files = tuple(file for file in manifest.files if file.path not in gone)
        write_manifest(directory, msgspec.structs.replace(manifest, models=remaining, files=files))
    for path in gone:
        if _is_inside(directory, path):
            (directory / path).unlink(missing_ok=True)
            _remove_empty((directory / path).parent, store.root)
    _remove_empty(directory.parent / PARTIALS_NAME, store.root)


def _is_inside(directory: Path, path: str) -> bool:
    """No directory on the way is a link to elsewhere."""
    parent = (directory / path).parent
    return parent.resolve() == directory.resolve() / parent.relative_to(directory)


def _remove_empty(directory: Path, root: Path) -> None:
    """It and those above it, as far as nothing is left in them."""
    while directory != root and root in directory.parents:
        with contextlib.suppress(FileNotFoundError):
            try:
                directory.rmdir()
            except OSError:  # not empty
                return
        directory = directory.parent
