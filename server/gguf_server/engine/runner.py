"""The contracts between the step loop and whatever computes: runner, sampler, vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gguf_server.wire.messages import Constraint, SamplingParams, TokenLogprob

Vector = npt.NDArray[np.float32]


class KvCacheFull(Exception):
    """No KV cells for this batch. Nothing was computed: free some, then try again."""


class EngineFatal(Exception):
    """The state of llama.cpp is unknown after this error; only a new process helps."""


@dataclass(slots=True)
class Chunk:
    """Consecutive tokens of one sequence in one batch, the first at position ``start``.

    ``num_outputs`` asks for the logits after each of so many last tokens.
    """

    slot: int
    start: int
    tokens: Sequence[int]
    num_outputs: int


class State(Protocol):
    """A copy of what a slot holds, in host memory. Only the runner looks inside."""

    @property
    def nbytes(self) -> int: ...


class Grammar(Protocol):
    """What one sequence's output may still become; made from a ``Constraint``, for a sampler."""


class Grammars(Protocol):
    """Makes grammars for one vocabulary. Called from the reader thread."""

    def compile(self, constraint: Constraint) -> Grammar:
        """Raises ``InvalidRequest`` for what is malformed or can never be fulfilled."""
        ...


class Logprobs(Protocol):
    """What the model holds of each token at one position."""

    def of(self, token: int, num_likeliest: int) -> TokenLogprob: ...


class Sampler(Protocol):
    """The sampling state of one sequence; it outlives a preemption."""

    @property
    def is_complete(self) -> bool:
        """Whether the grammar, if there is one, lets nothing follow any more."""
        ...

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

    def spelling(self, token: int) -> bytes:
        """The same, but control tokens as they are written in templates."""
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
        """Lay out the batch; returns the first row of logits of each chunk that asks for any.

        The rows of a chunk follow each other. Chunks come in ascending slot order, at most one a
        slot.
        """
        ...

    def decode(self) -> None:
        """Compute the batch. Raises ``KvCacheFull`` or ``EngineFatal``."""
        ...

    def sample(self, row: int, sampler: Sampler) -> int:
        """Choose the next token from the logits of ``row`` and remember it in ``sampler``.

        Once a row. Raises ``InternalError`` when no token is possible, ``InvalidRequest`` when
        the grammar turns out to be too complex.
        """
        ...

    def logprobs(self, row: int) -> Logprobs:
        """To be asked for before ``sample``, which may change the row."""
        ...

    def new_sampler(
        self, params: SamplingParams, prompt: Sequence[int], grammar: Grammar | None
    ) -> Sampler: ...

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> bool:
        """Make ``target`` hold exactly the first ``num_tokens`` cells of ``source``.

        This and the next two leave the slot empty where they fail.
        """
        ...

    def truncate(self, slot: int, num_tokens: int) -> bool:
        """Forget everything in ``slot`` after its first ``num_tokens`` cells."""
        ...

    def restore(self, slot: int, state: State, num_tokens: int) -> bool:
        """Make ``slot`` hold exactly the first ``num_tokens`` cells of a saved state."""
        ...

    def state_bytes(self, slot: int) -> int:
        """How large a state ``save`` would return now."""
        ...

    def save(self, slot: int) -> State | None:
        """A copy of everything in ``slot``; None when it cannot be had."""
        ...

    def first_position(self, slot: int) -> int:
        """The oldest position of which no layer has lost its cell."""
        ...


class VectorRunner(Protocol):
    """Computes embeddings, in a context of its own. One thread calls it."""

    max_inputs: int
    max_tokens: int  # of all inputs of one call together; one input may have as many

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[Vector]:
        """A vector of length 1 for each input. Raises ``EngineFatal``."""
        ...
