"""What the rest of the API process may know about the engine, as one immutable value."""

from dataclasses import dataclass
from enum import StrEnum

from gguf_server.wire.messages import ModelFacts


class State(StrEnum):
    """The life of the engine as its supervisor sees it. ``process.py`` is the only writer.

    LOADING -> READY -> REPLACING -> READY ... and from anywhere to FAILED, which is final.
    """

    LOADING = "loading"
    READY = "ready"
    REPLACING = "replacing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot; probes and metrics read it and never wait.

    ``stage``, ``fraction`` (0 to 1) and ``detail`` (a few words, if there is more to say) tell how
    far a fetch or a load is, ``elapsed_seconds`` how long it has run, ``remaining_seconds`` an
    estimate (None while there is nothing to estimate from).
    ``reason`` is the last thing that went wrong, in one line. ``ever_ready`` stays true once a
    model has been served. ``draining`` is orthogonal: a server can drain in any state.
    """

    state: State
    ever_ready: bool
    draining: bool
    stage: str
    fraction: float
    detail: str
    elapsed_seconds: float
    remaining_seconds: float | None
    restarts: int
    reason: str
    facts: ModelFacts | None

    @property
    def is_ready(self) -> bool:
        """May requests be sent here?"""
        return self.state is State.READY and not self.draining
