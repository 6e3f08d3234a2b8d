"""The contracts between the step loop and whatever computes: runner, sampler, vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gguf_server.wire.messages import SamplingParams


class KvCacheFull(Exception):
    """No KV cells for this batch. Nothing was computed: free some, then try again."""


class EngineFatal(Exception):
    """The state of llama.cpp is unknown after this error; only a new process helps."""


@dataclass(slots=True)
class Chunk:
    """Consecutive tokens of one sequence in one batch, the first at position ``start``.

    ``wants_output`` asks for the logits after the last token.
    """

    slot: int
    start: int
    tokens: Sequence[int]
    wants_output: bool


class Sampler(Protocol):
    """The sampling state of one sequence; it outlives a preemption."""

    def close(self) -> None: ...


class Vocabulary(Protocol):
    """Text to tokens and back. ``tokenize`` is called from the reader thread."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def fewest_tokens(self, text: str) -> int:
        """Tokens that ``text`` has at least, found much faster than by tokenizing it."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes of one token as a client sees them; control tokens are empty."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with this token."""
        ...

    def __len__(self) -> int: ...


class Runner(Protocol):
    """Computes batches and owns the KV cache. One thread calls it.

    A slot is a llama.cpp sequence id. ``fill`` then ``decode`` then ``sample``: three calls, so
    that the loop can time them apart.
    """

    def fill(self, chunks: Sequence[Chunk]) -> list[int]:
        """Lay out the batch; returns the row to sample from for each chunk that wants output.

        Chunks come in ascending slot order, at most one a slot.
        """
        ...

    def decode(self) -> None:
        """Compute the batch. Raises ``KvCacheFull`` or ``EngineFatal``."""
        ...

    def sample(self, row: int, sampler: Sampler) -> int:
        """Choose the next token from the logits of ``row`` and remember it in ``sampler``.

        Once a row. Raises ``InternalError`` when no token is possible.
        """
        ...

    def new_sampler(self, params: SamplingParams, prompt: Sequence[int]) -> Sampler: ...

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        """Make ``target`` hold exactly the first ``num_tokens`` cells of ``source``."""
        ...

    def truncate(self, slot: int, num_tokens: int) -> None:
        """Forget everything in ``slot`` after its first ``num_tokens`` cells."""
        ...
