"""A claim is a file that its owner locks and touches: one for this machine, one for the others.

Nothing correct depends on it. There are file systems on which every lock is granted; a claim that
is wrongly called abandoned costs bytes that are downloaded twice.
"""

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STALE_SECONDS = 60.0
STOPPED_SECONDS = STALE_SECONDS / 2  # whoever was silent for so long writes no more
_BEAT_SECONDS = 5.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Of this kernel since its start; all containers of a machine share it."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # not Linux
        return os.uname().nodename


def lock(number: int) -> bool:
    """Taken until the file is closed, by us or by the kernel when we die."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_abandoned(path: Path, owner_boot_id: str) -> bool:
    """Is its owner gone? Of this machine the kernel knows; of others, that they were silent."""
    if owner_boot_id == boot_id() and _locks_work(path.parent):
        return not _is_locked(path)
    return is_stale(path)


def _is_locked(path: Path) -> bool:
    try:
        number = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock(number)
    finally:
        os.close(number)


def _locks_work(directory: Path) -> bool:
    """On some file systems every lock is granted, and to find one free means nothing."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".lock-") as one:
            return lock(one.fileno()) and _is_locked(Path(one.name))
    except OSError:
        return False


def is_stale(path: Path, seconds: float = STALE_SECONDS) -> bool:
    """Was it silent for so long? By the clock of the file system: those of machines differ."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".now-") as now:
            present = os.fstat(now.fileno()).st_mtime
        # Opening makes a network file system ask its server.
        with path.open("rb") as file:
            touched = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return True
    except OSError:  # a volume that we may not write to
        return False
    return present - touched > seconds


class Heart:
    """Touches claims until it is stopped. After a pause of the whole process it has missed beats:
    others may have taken what was ours.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_beat = clock()
        self._numbers: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, number: int) -> None:
        with self._lock:
            self._numbers.add(number)

    def remove(self, number: int) -> None:
        with self._lock:
            self._numbers.discard(number)

    @property
    def is_regular(self) -> bool:
        return self._clock() - self._last_beat < STOPPED_SECONDS

    def beat(self) -> None:
        """A heart that missed beats does not recover: who asks must let go and claim anew."""
        if not self.is_regular:
            return
        with self._lock:
            for number in self._numbers:
                with suppress(OSError):
                    os.utime(number)
        self._last_beat = self._clock()

    def _beat_on(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            self.beat()
