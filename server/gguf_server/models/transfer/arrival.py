"""All pieces of one file, over several connections, hashed as they come."""

import random
import threading
from collections.abc import Callable

import httpx2

from gguf_server.errors import DiskFull, HubUnreachable, StartupError, StorageUnusable
from gguf_server.models.listing import RemoteFile
from gguf_server.models.progress import CountBytes, Notice
from gguf_server.models.retry import MAX_FAILURES, pause_seconds
from gguf_server.models.sizes import human_bytes
from gguf_server.models.source import Source
from gguf_server.models.transfer.answer import Answer, Meaning
from gguf_server.models.transfer.digest import Digest
from gguf_server.models.transfer.disk import is_full
from gguf_server.models.transfer.partial import Partial
from gguf_server.models.transfer.requests import Over, Requests

_TICK_SECONDS = 0.05
_FLUSH_SECONDS = 5.0


class Changed(Exception):
    """The server has another file than before: what is there may not belong to it."""


class Arrival:
    """One attempt, with ``num_connections`` threads. ``run`` once."""

    def __init__(
        self,
        source: Source,
        file: RemoteFile,
        partial: Partial,
        report: CountBytes,
        notice: Notice,
        num_connections: int,
    ) -> None:
        self._file = file
        self._partial = partial
        self._ledger = partial.ledger
        self._report = report
        self._notice = notice
        self._num_connections = min(num_connections, max(1, self._ledger.num_pieces))
        self._digest = Digest(file)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._requests = Requests(source, file, self._stop)
        self._taken: set[int] = set()
        self._serves_ranges = True
        self._num_failures = 0
        self._fault: BaseException | None = None

    def run(self) -> Digest:
        """Until everything is there and hashed. Raises what ended it: a ``StartupError``,
        ``Changed``, or an interruption.
        """
        jobs = [self._hash, self._flush, *[self._work] * self._num_connections]
        threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.wait(_TICK_SECONDS) and not self._is_done:
                self._report(self._ledger.num_bytes)
        finally:
            self._end(threads)
        if self._fault is not None:
            raise self._fault
        self._report(self._ledger.num_bytes)
        return self._digest

    @property
    def _is_done(self) -> bool:
        return self._digest.num_bytes == self._file.size_bytes

    def _end(self, threads: list[threading.Thread]) -> None:
        """One that waits for an answer cannot be woken and is left alone: when it comes, it sees
        that all is over.
        """
        self._stop.set()
        while any(each.is_alive() and not self._requests.is_asking(each) for each in threads):
            self._requests.hang_up()
            for thread in threads:
                if not self._requests.is_asking(thread):
                    thread.join(_TICK_SECONDS)

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (StartupError, Changed, Over) as exc:
            self._give_up(exc)
        except OSError as exc:
            self._give_up(self._storage_error(exc))
        except BaseException as exc:  # noqa: BLE001  (a thread's error is the caller's)
            self._give_up(exc)

    def _give_up(self, fault: BaseException) -> None:
        with self._lock:
            if self._fault is None and not self._stop.is_set():
                self._fault = fault
        self._stop.set()

    # --- hashing and flushing ----------------------------------------------------------------

    def _hash(self) -> None:
        while not self._is_done and not self._stop.is_set():
            if not self._digest.follow(self._partial.number, self._ledger.frontier()):
                self._stop.wait(_TICK_SECONDS)

    def _flush(self) -> None:
        while not self._stop.wait(_FLUSH_SECONDS):
            self._partial.flush()

    # --- fetching ----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.is_set() and (index := self._take()) is not None:
            try:
                self._fetch(index)
            except httpx2.TransportError as exc:
                if not self._stop.is_set():
                    self._failed(f"{type(exc).__name__}: {exc}".strip(": "), None)
            finally:
                with self._lock:
                    self._taken.discard(index)

    def _take(self) -> int | None:
        """The next piece that nobody fetches; with no ranges one of us does all."""
        with self._lock:
            if self._taken and not self._serves_ranges:
                return None
            for index in range(
                self._ledger.index_at(self._ledger.frontier()), self._ledger.num_pieces
            ):
                if index not in self._taken and not self._ledger.is_whole(index):
                    self._taken.add(index)
                    return index
        return None

    def _fetch(self, index: int) -> None:
        piece = self._ledger.piece(index)
        wanted = range(piece.start + self._ledger.arrived(index), piece.stop)
        etag = self._ledger.etag
        with self._requests.ask(wanted, etag) as (response, answer):
            match answer.meaning:
                case Meaning.PART:
                    self._remember(answer)
                    self._take_part(response, index)
                case Meaning.WHOLE:
                    self._take_all(response, answer, index)
                case Meaning.CHANGED:
                    raise Changed(answer.detail)
                case Meaning.ELSEWHERE:
                    self._requests.forget_location()
                    self._failed(answer.detail, None)
                case Meaning.LATER:
                    self._failed(answer.detail, answer.retry_after_seconds)

    def _remember(self, answer: Answer) -> None:
        with self._lock:
            if answer.etag and not self._ledger.etag:
                self._ledger.etag = answer.etag

    def _keep(self, index: int, data: bytes) -> bool:
        """Never beyond the piece, whatever the server sends. Was there room for all of it?"""
        missing = len(self._ledger.piece(index)) - self._ledger.arrived(index)
        if data and missing and not self._stop.is_set():
            self._partial.write(index, data[:missing])
            self._recovered()
        return len(data) <= missing

    def _take_part(self, response: httpx2.Response, index: int) -> None:
        num_there = self._ledger.arrived(index)
        for chunk in response.iter_raw():
            if not self._keep(index, chunk):
                break  # it sends more than was asked for, perhaps without end
        if self._ledger.arrived(index) == num_there and not self._stop.is_set():
            self._failed("its answer was empty", None)

    def _take_all(self, response: httpx2.Response, answer: Answer, index: int) -> None:
        """The file from its start, on one connection; what is there is passed over."""
        with self._lock:
            self._serves_ranges = False
            if self._taken != {index}:
                return
        self._remember(answer)
        offset, num_there = 0, self._ledger.num_bytes
        for chunk in response.iter_raw():
            view = memoryview(chunk)
            while view and offset < self._file.size_bytes and not self._stop.is_set():
                at = self._ledger.index_at(offset)
                piece = self._ledger.piece(at)
                count = min(len(view), piece.stop - offset)
                there = self._ledger.arrived(at) - (offset - piece.start)
                self._keep(at, bytes(view[max(0, there) : count]))
                view, offset = view[count:], offset + count
        if self._ledger.num_bytes == num_there and not self._stop.is_set():
            self._failed("its answer ended too early", None)

    def _failed(self, detail: str, retry_after: float | None) -> None:
        """Wait, or give up if nothing has come for too many attempts."""
        with self._lock:
            self._num_failures += 1
            num_failures = self._num_failures
        if num_failures > MAX_FAILURES * self._num_connections:
            there, size = human_bytes(self._ledger.num_bytes), human_bytes(self._file.size_bytes)
            msg = (
                f"{self._file.path} cannot be fetched from {self._requests.host}: {detail};"
                f" {there} of {size} are here and kept, run it again and it goes on there"
            )
            raise HubUnreachable(msg)
        turn = -(-num_failures // self._num_connections)
        pause = pause_seconds(turn, retry_after, random.random())  # noqa: S311
        self._notice(
            f"{self._requests.host}: {detail}, failure {num_failures}; again in {pause:.0f} s"
        )
        self._stop.wait(pause)

    def _recovered(self) -> None:
        if self._num_failures:
            self._num_failures = 0
            self._notice("")

    def _storage_error(self, exc: OSError) -> StartupError:
        where = self._partial.path.parent
        missing = self._file.size_bytes - self._ledger.num_bytes
        kept = f"{human_bytes(self._ledger.num_bytes)} are kept, and the next attempt goes on there"
        if is_full(exc):
            return DiskFull(
                f"{where} is full: {human_bytes(missing)} more are needed for {self._file.path};"
                f" make room (gguf-server clean shows what may go). {kept}"
            )
        return StorageUnusable(f"{where} cannot be written: {exc.strerror}; {kept}")
