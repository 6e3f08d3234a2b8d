"""What must happen to the memory of slots before the next batch, in order."""

from dataclasses import dataclass

from gguf_server.engine.host import SavedPrefix


@dataclass(frozen=True, slots=True)
class CopyPrefix:
    """Make slot ``target`` hold exactly the first ``num_tokens`` cells of ``source``."""

    source: int
    target: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Truncate:
    """Forget the cells of ``target`` after its first ``num_tokens``."""

    target: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Save:
    """Keep what ``slot`` holds, which is ``tokens``, in host memory."""

    slot: int
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Restore:
    """Make slot ``target`` hold exactly the first ``num_tokens`` of what was saved."""

    saved: SavedPrefix
    target: int
    num_tokens: int


Operation = CopyPrefix | Truncate | Save | Restore
