"""Who fetches a repository at the moment: the others wait, and then find it fetched."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from gguf_server.errors import StorageUnusable
from gguf_server.models.transfer.claim import Heart, boot_id, is_abandoned, is_stale, lock

_POLL_SECONDS = 0.25


class Holder(msgspec.Struct, frozen=True):
    """What the file says."""

    writer: str = ""
    host: str = "?"
    pid: int = 0
    boot_id: str = ""


class Lease:
    """Ours. ``writer`` names our partial files."""

    def __init__(self, writer: str, heart: Heart) -> None:
        self.writer = writer
        self.heart = heart


@contextmanager
def hold(
    path: Path,
    waiting: Callable[[Holder], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Wait for whoever holds it, telling ``waiting`` who that is, then hold it."""
    writer = secrets.token_hex(4)
    number = _acquire(
        path, Holder(writer, socket.gethostname(), os.getpid(), boot_id()), waiting, sleep
    )
    heart = Heart()
    heart.add(number)
    heart.start()
    try:
        yield Lease(writer, heart)
    finally:
        heart.stop()
        _release(path, number)


def is_held(path: Path) -> bool:
    """Does somebody fetch there now?"""
    return path.exists() and not _is_abandoned(path)


def holder_of(path: Path) -> Holder:
    """As far as it can be read."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    return Holder()


def _acquire(
    path: Path, us: Holder, waiting: Callable[[Holder], None], sleep: Callable[[float], None]
) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (number := _create(path, us)) is None:
            if _is_abandoned(path):
                _break(path, us.writer)
            else:
                waiting(holder_of(path))
                sleep(_POLL_SECONDS)
    except OSError as exc:
        msg = f"{exc.filename or path} cannot be written: {exc.strerror}; models need a place to be"
        raise StorageUnusable(msg) from None
    return number


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


def _break(path: Path, writer: str) -> None:
    """One of several that try it succeeds."""
    away = path.with_name(f"{path.name}.{writer}.old")
    with suppress(FileNotFoundError):
        path.rename(away)
        away.unlink()


def _release(path: Path, number: int) -> None:
    with suppress(OSError):
        if path.stat().st_ino == os.fstat(number).st_ino:  # nobody has taken it over
            path.unlink()
    os.close(number)
