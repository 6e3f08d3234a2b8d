"""Files for one revision directory: kept if verified there, adopted if here, else downloaded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gguf_server.errors import DiskFull, StorageUnusable
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.meter import Meter
from gguf_server.models.progress import Stage
from gguf_server.models.source import Source
from gguf_server.models.store.adoption import adopt
from gguf_server.models.store.layout import PARTIALS_NAME, refuse_links
from gguf_server.models.store.manifest import StoredFile, stored_file
from gguf_server.models.store.space import check_space
from gguf_server.models.store.store import Store
from gguf_server.models.store.verification import Check, check
from gguf_server.models.transfer.disk import is_full
from gguf_server.models.transfer.download import download
from gguf_server.models.transfer.hashing import matches, sha256_of
from gguf_server.models.transfer.lease import Lease
from gguf_server.models.transfer.partial import bytes_there

SourceOf = Callable[[Repository, RemoteFile], Source]


@dataclass(frozen=True, slots=True)
class Item:
    """A file of a repository, and its path in the directory."""

    origin: Repository
    file: RemoteFile
    path: str


class Delivery:
    """``files`` are those that are verified, by path. What it cost is counted."""

    def __init__(
        self, store: Store, directory: Path, source_of: SourceOf, lease: Lease, meter: Meter
    ) -> None:
        self._store = store
        self._source_of = source_of
        self._lease = lease
        self._meter = meter
        self._partials = directory.parent / PARTIALS_NAME
        self.directory = directory
        self.files = verified_files(store, directory)
        self.downloaded_bytes = 0
        self.adopted_bytes = 0

    def bring(self, items: Sequence[Item], stage: Stage = "download") -> None:
        """All of them, or an error. There is room for all before the first byte is asked for."""
        with _storage_faults(self.directory):
            self._bring(items, stage)

    def _bring(self, items: Sequence[Item], stage: Stage) -> None:
        for item in items:
            refuse_links(self._store.root, (self.directory / item.path).parent)
        missing = [item for item in items if not (self._is_kept(item) or self._adopt(item))]
        if not missing:
            return
        num_bytes = sum(item.file.size_bytes for item in missing)
        for item in missing:
            (self.directory / item.path).unlink(missing_ok=True)  # broken: it only takes room
        num_there = sum(bytes_there(self._partials, item.file, self._lease) for item in missing)
        check_space(self.directory, num_bytes - num_there)
        self._meter.begin(stage, total_bytes=num_bytes)
        done_bytes = 0
        for item in missing:
            self._download(item, done_bytes)
            done_bytes += item.file.size_bytes

    def write(self, path: str, text: str) -> None:
        """A file of our own; whole or not at all."""
        target = self.directory / path
        temporary = target.with_name(f".{self._lease.writer}")
        refuse_links(self._store.root, target.parent)
        with _storage_faults(self.directory):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, "utf-8")
            temporary.replace(target)
            self.files[path] = stored_file(self.directory, path, sha256_of(target))

    def discard(self, paths: Iterable[str]) -> None:
        """What was brought and is of no use."""
        with _storage_faults(self.directory):
            for path in paths:
                del self.files[path]
                (self.directory / path).unlink()

    def _is_kept(self, item: Item) -> bool:
        """Of what an earlier fetch brought. Beside a model may be another base model's by now."""
        kept = self.files.get(item.path)
        if kept is None or not item.file.sha256:
            return kept is not None and matches(self.directory / item.path, item.file)
        return kept.sha256 == item.file.sha256

    def _adopt(self, item: Item) -> bool:
        self._meter.begin("check", item.file.path, total_bytes=item.file.size_bytes)
        target = self.directory / item.path
        is_here = adopt(self._store, item.file, target, self._meter.reach)
        if is_here:
            self._note(item, item.file.sha256)
            self.adopted_bytes += item.file.size_bytes
        return is_here

    def _download(self, item: Item, done_bytes: int) -> None:
        num_there = bytes_there(self._partials, item.file, self._lease)
        self._meter.skip(num_there)
        path = item.file.path
        self._meter.tell(path)
        sha256 = download(
            self._source_of(item.origin, item.file),
            item.file,
            self.directory / item.path,
            partials=self._partials,
            lease=self._lease,
            report=lambda num_bytes: self._meter.reach(done_bytes + num_bytes),
            notice=lambda text: self._meter.tell(f"({text})" if text else path),
        )
        self._note(item, sha256)
        self.downloaded_bytes += item.file.size_bytes - num_there

    def _note(self, item: Item, sha256: str) -> None:
        self.files[item.path] = stored_file(self.directory, item.path, sha256)


@contextmanager
def _storage_faults(directory: Path) -> Iterator[None]:
    """What the disk refuses, as an error for people."""
    try:
        yield
    except OSError as exc:
        where = exc.filename or directory
        if is_full(exc):
            msg = f"{where} is full; make room (gguf-server clean shows what may go), then go on"
            raise DiskFull(msg) from exc
        raise StorageUnusable(f"{where} cannot be used: {exc.strerror}") from exc


def verified_files(store: Store, directory: Path) -> dict[str, StoredFile]:
    """What an earlier fetch put there and nobody has touched since."""
    revision = store.revision(directory)
    files = revision.manifest.files if revision else ()
    return {file.path: file for file in files if check(directory, file) is Check.VERIFIED}
