"""Which requests may be sent to the engine after it was lost. Pure: time is passed in."""

import hashlib
from collections import deque
from dataclasses import dataclass

import msgspec

from gguf_server.errors import CrashingRequest
from gguf_server.wire.messages import Detokenize, Embed, Submit, Tokenize

Work = Submit | Embed | Tokenize | Detokenize

_MAX_SUSPECTS = 1024


@dataclass(frozen=True, slots=True)
class _Suspicion:
    num_losses: int
    last_loss: float


class Quarantine:
    """Keeps one request that crashes the engine from ending the server.

    What was being computed when the engine was lost is suspect. Suspects that come again are let
    in one at a time, beside all the others: so the one that is there at a second loss is the
    culprit and is refused from then on, and bystanders only wait. A suspect that finishes is
    cleared; one that is not seen at another loss for ``window_seconds`` is forgotten.

    Requests are known by what they ask, not by their ids.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._suspicions: dict[bytes, _Suspicion] = {}
        self._open: dict[int, bytes] = {}
        self._on_trial: int | None = None
        self._held: deque[Work] = deque()

    def admits(self, work: Work, now: float) -> bool:
        """Whether to send it now; if not, ``left`` gives it back. Raises ``CrashingRequest``."""
        asked = fingerprint(work)
        num_losses = self._num_losses(asked, now)
        if num_losses > 1:
            msg = (
                f"this request is refused: the engine was lost {num_losses} times while it "
                "computed one like it; change the request, or report it as a bug"
            )
            raise CrashingRequest(msg)
        self._open[work.id] = asked
        if num_losses and self._on_trial is not None:
            self._held.append(work)
            return False
        if num_losses:
            self._on_trial = work.id
        return True

    def holds(self, work_id: int) -> bool:
        return any(each.id == work_id for each in self._held)

    def finished(self, work_id: int) -> None:
        """It came to a good end."""
        self._suspicions.pop(self._open.get(work_id, b""), None)

    def left(self, work_id: int) -> Work | None:
        """It is no longer open; what may be sent in its place."""
        self._open.pop(work_id, None)
        if work_id != self._on_trial:
            self._held = deque(each for each in self._held if each.id != work_id)
            return None
        following = self._held.popleft() if self._held else None
        self._on_trial = following.id if following else None
        return following

    def lost(self, in_engine: set[int], now: float) -> None:
        """The engine is gone, and with it all that was open."""
        for asked in {self._open[each] for each in in_engine & self._open.keys()}:
            count = self._num_losses(asked, now) + 1
            self._suspicions.pop(asked, None)  # the latest are last
            self._suspicions[asked] = _Suspicion(count, now)
        while len(self._suspicions) > _MAX_SUSPECTS:
            del self._suspicions[next(iter(self._suspicions))]
        self._open.clear()
        self._held.clear()
        self._on_trial = None

    def _num_losses(self, asked: bytes, now: float) -> int:
        suspicion = self._suspicions.get(asked)
        if suspicion is None or now - suspicion.last_loss > self._window_seconds:
            return 0
        return suspicion.num_losses


def fingerprint(work: Work) -> bytes:
    """The same for requests that ask the same."""
    asked = msgspec.msgpack.encode(msgspec.structs.replace(work, id=0))
    return hashlib.blake2b(asked, digest_size=16).digest()
