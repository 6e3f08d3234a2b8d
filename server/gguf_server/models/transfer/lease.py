"""Who fetches a repository at the moment: the others wait, and then find it fetched."""

import os
import secrets
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from gguf_server.errors import StorageUnusable
from gguf_server.models.foreign import is_plain_file
from gguf_server.models.transfer.claim import Heart, boot_id, is_abandoned, is_stale, lock

_POLL_SECONDS = 0.25


class Holder(msgspec.Struct, frozen=True):
    """What the file says."""

    writer: str = ""
    host: str = "?"
    pid: int = 0
    boot_id: str = ""


class Lease:
    """Ours. ``writer`` names our partial files; ``predecessor`` is the writer from whom the lease
    was taken, and with it what that one left.
    """

    def __init__(self, writer: str, heart: Heart, predecessor: str = "") -> None:
        self.writer = writer
        self.heart = heart
        self.predecessor = predecessor


@contextmanager
def hold(
    path: Path,
    waiting: Callable[[Holder], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Wait for whoever holds it, telling ``waiting`` who that is, then hold it."""
    writer = secrets.token_hex(4)
    us = Holder(writer, socket.gethostname(), os.getpid(), boot_id())
    number, predecessor = _acquire(path, us, waiting, sleep)
    heart = Heart()
    heart.add(number)
    heart.start()
    try:
        yield Lease(writer, heart, predecessor)
    finally:
        heart.stop()
        _release(path, number)


def is_held(path: Path) -> bool:
    """Does somebody fetch there now?"""
    return is_plain_file(path) and not _is_abandoned(path)


def holder_of(path: Path) -> Holder:
    """As far as it can be read."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    return Holder()


def _acquire(
    path: Path, us: Holder, waiting: Callable[[Holder], None], sleep: Callable[[float], None]
) -> tuple[int, str]:
    predecessor = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (number := _create(path, us)) is None:
            if _is_something_else(path):
                raise StorageUnusable(f"{path} is no lease of ours; remove it")
            if not _is_abandoned(path):
                waiting(holder_of(path))
                sleep(_POLL_SECONDS)
            elif (writer := _break(path)) is None:
                sleep(_POLL_SECONDS)
            else:
                predecessor = writer or predecessor
    except OSError as exc:
        msg = f"{exc.filename or path} cannot be written: {exc.strerror}; models need a place to be"
        raise StorageUnusable(msg) from None
    return number, predecessor


def _create(path: Path, us: Holder) -> int | None:
    """Locked before it has its name: nobody can find it unlocked and call it abandoned."""
    prepared = path.with_name(f"{path.name}.{us.writer}")
    number = os.open(prepared, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o664)
    try:
        lock(number)
        os.write(number, msgspec.json.encode(us))
        if not path.exists():
            _name(prepared, path)
            return number
    except FileExistsError:
        pass
    except BaseException:
        os.close(number)
        raise
    finally:
        prepared.unlink(missing_ok=True)
    os.close(number)
    return None


def _name(prepared: Path, path: Path) -> None:
    """Fails where the name is taken; a file system without links takes the last one."""
    try:
        path.hardlink_to(prepared)
    except FileExistsError:
        raise
    except OSError:
        prepared.replace(path)


def _is_abandoned(path: Path) -> bool:
    """A process that is stopped holds its lock, but nobody should wait for it."""
    return is_abandoned(path, holder_of(path).boot_id) or is_stale(path)


def _break(path: Path) -> str | None:
    """Whose it was; None if it is not ours to break. One at a time: what was abandoned a moment ago
    may be somebody's by now.
    """
    breaking = path.with_name(f"{path.name}.breaking")
    try:
        os.close(os.open(breaking, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664))
    except FileExistsError:
        if is_stale(breaking):  # whoever made it is gone
            breaking.unlink(missing_ok=True)
        return None
    try:
        return _unlink_abandoned(path)
    except FileNotFoundError:  # released meanwhile
        return ""
    finally:
        breaking.unlink(missing_ok=True)


def _unlink_abandoned(path: Path) -> str | None:
    """The very file that was found abandoned, not one that has taken its place."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        writer = holder_of(path).writer
        if not _is_abandoned(path) or not _is_same(path, number):
            return None
        path.unlink()
        return writer
    finally:
        os.close(number)


def _release(path: Path, number: int) -> None:
    with suppress(OSError):
        if _is_same(path, number):  # nobody has taken it over
            path.unlink()
    os.close(number)


def _is_same(path: Path, number: int) -> bool:
    return path.stat().st_ino == os.fstat(number).st_ino


def _is_something_else(path: Path) -> bool:
    """A directory, a link, a pipe: it would be waited for without end."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False
