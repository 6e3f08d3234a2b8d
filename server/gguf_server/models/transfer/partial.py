"""A file that has not wholly arrived. Every writer has names of its own."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gguf_server.errors import HubUnreachable
from gguf_server.models.foreign import is_plain_file
from gguf_server.models.listing import RemoteFile
from gguf_server.models.transfer.claim import (
    STOPPED_SECONDS,
    boot_id,
    is_abandoned,
    is_stale,
    lock,
)
from gguf_server.models.transfer.disk import sync_directory
from gguf_server.models.transfer.lease import Lease
from gguf_server.models.transfer.ledger import Ledger, peek


class Partial:
    """Open for writing; only we write it."""

    def __init__(self, path: Path, number: int, ledger: Ledger, lease: Lease) -> None:
        self.path = path
        self.number = number
        self.ledger = ledger
        self._heart = lease.heart
        self._heart.add(number)

    @classmethod
    def open(cls, directory: Path, file: RemoteFile, lease: Lease) -> "Partial":
        """Another's that nobody goes on with, the fullest; else an empty one."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{_key(file)}.{lease.writer}"
        _adopt(directory, file, path, lease)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o664)
        lock(number)
        try:
            ledger = _ledger(number, file.size_bytes)
        except BaseException:
            os.close(number)
            raise
        return cls(path, number, ledger, lease)

    def write(self, index: int, data: bytes) -> None:
        """The next bytes of a piece."""
        if not self._heart.is_regular:
            msg = "this process was stopped for so long that another may have gone on; run it again"
            raise HubUnreachable(msg)
        offset = self.ledger.piece(index).start + self.ledger.arrived(index)
        view = memoryview(data)
        while view:
            count = os.pwrite(self.number, view, offset)
            self.ledger.advance(index, count)
            view, offset = view[count:], offset + count

    def flush(self) -> None:
        """What has arrived by now survives a power cut."""
        snapshot = self.ledger.snapshot()
        os.fdatasync(self.number)
        self.ledger.confirm(snapshot)

    def publish(self, target: Path, size_bytes: int) -> None:
        """It is whole and verified: cut the ledger off and give it its name."""
        self.ledger.close()  # what is cut off must not be touched any more
        os.ftruncate(self.number, size_bytes)
        os.fsync(self.number)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        sync_directory(target.parent)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._heart.remove(self.number)
        self.ledger.close()
        os.close(self.number)


def _ledger(number: int, size_bytes: int) -> Ledger:
    """Of what is there; a whole file without one was cut off just before it got its name."""
    if size_bytes and os.fstat(number).st_size == size_bytes:
        return Ledger.create(number, size_bytes, boot_id(), is_whole=True)
    return Ledger.resume(number, size_bytes, boot_id()) or Ledger.create(
        number, size_bytes, boot_id()
    )


def bytes_there(directory: Path, file: RemoteFile, lease: Lease) -> int:
    """How much of it has arrived and can be taken over."""
    return max(map(_num_bytes, _abandoned(directory, file, lease)), default=0)


def _adopt(directory: Path, file: RemoteFile, path: Path, lease: Lease) -> None:
    """Rename, to ``path``, the fullest that is abandoned. One of several who try it succeeds."""
    for each in sorted(_abandoned(directory, file, lease), key=_num_bytes, reverse=True):
        with suppress(OSError):
            each.replace(path)
            return


def _abandoned(directory: Path, file: RemoteFile, lease: Lease) -> Iterator[Path]:
    """Files, not links: whoever may write here could point one at a file that we may write."""
    for each in directory.glob(f"{_key(file)}.*"):
        if not is_plain_file(each):
            continue
        _, owner = peek(each, boot_id())
        if is_abandoned(each, owner) or _was_taken(each, lease):
            yield each


def _num_bytes(path: Path) -> int:
    return peek(path, boot_id())[0]


def _was_taken(path: Path, lease: Lease) -> bool:
    """With the lease: its owner's last bytes came up to a beat after the last beat."""
    is_theirs = path.suffix.removeprefix(".") == lease.predecessor
    return is_theirs and is_stale(path, STOPPED_SECONDS)


def _key(file: RemoteFile) -> str:
    """The content's hash: another commit with the same file goes on where this one stopped."""
    return file.sha256 or file.blob_id
