"""Stand-ins for llama.cpp: a runner whose text depends on every cell, and a tiny vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gguf_server.engine.memory import Memory
from gguf_server.engine.runner import Chunk, Grammar, KvCacheFull, Sampler, State, Vector
from gguf_server.errors import InvalidRequest
from gguf_server.wire.messages import Constraint, LikelyToken, SamplingParams, TokenLogprob

VOCABULARY_SIZE = 256
END_TOKEN = 0


def next_token(tokens: Sequence[int]) -> int:
    """What the fake model says after ``tokens``: any wrong, missing or extra cell changes it."""
    state = 7
    for token in tokens:
        state = (state * 31 + token + 1) % 1_000_003
    return 1 + state % (VOCABULARY_SIZE - 1)


def expected_output(prompt: Sequence[int], num_tokens: int) -> list[int]:
    """The fake model's answer to ``prompt``, computed with nothing shared."""
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


@dataclass(eq=False)
class Cell:
    """One position of one sequence's past."""

    token: int


@dataclass
class FakeSampler:
    closed: bool = False
    is_complete: bool = False

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


@dataclass
class FakeLogprobs:
    """Tells what it was asked about: the log-probability is the past as a number."""

    past: list[int]

    def of(self, token: int, num_likeliest: int) -> TokenLogprob:
        likeliest = LikelyToken(next_token(self.past), b"", 0.0)
        return TokenLogprob(token, b"", -float(sum(self.past)), (likeliest,) * num_likeliest)


class FakeGrammars:
    """Compiles anything but the text "impossible"."""

    def compile(self, constraint: Constraint) -> Grammar:
        if constraint.text == "impossible":
            raise InvalidRequest("the grammar cannot be used: impossible", param=constraint.param)
        return constraint


@dataclass
class FakeRunner:
    """A KV cache of real cells: sharing, cutting and running out behave as in llama.cpp.

    ``num_cells`` None is a split cache. ``refuse_decodes`` lets that many decodes find no cells,
    ``refuse_restores`` that many states not come back. What ``memory`` forbids fails the test;
    with a window, layers keep no more cells than they need and one batch.
    """

    num_slots: int
    num_cells: int | None = None
    memory: Memory = field(default_factory=Memory)
    window_slack: int = 32
    refuse_decodes: int = 0
    refuse_restores: int = 0
    samplers: list[FakeSampler] = field(default_factory=list)
    batches: list[list[Chunk]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots: list[list[Cell]] = [[] for _ in range(self.num_slots)]
        self._first = [0] * self.num_slots
        self._batch: list[Chunk] = []
        self._outputs: list[tuple[int, int]] = []

    @property
    def cells_used(self) -> int:
        if self.num_cells is None:
            return sum(len(cells) for cells in self.slots)
        return len({id(cell) for cells in self.slots for cell in cells})

    def fill(self, chunks: Sequence[Chunk]) -> list[int]:
        slots = [chunk.slot for chunk in chunks]
        assert slots == sorted(set(slots)), "one chunk a slot, in ascending order"
        assert chunks, "an empty batch"
        self._batch = list(chunks)
        rows, self._outputs = [], []
        for chunk in chunks:
            end = chunk.start + len(chunk.tokens)
            if chunk.num_outputs:
                rows.append(len(self._outputs))
            self._outputs += [
                (chunk.slot, position) for position in range(end - chunk.num_outputs, end)
            ]
        return rows

    def decode(self) -> None:
        new = sum(len(chunk.tokens) for chunk in self._batch)
        if self.refuse_decodes > 0:
            self.refuse_decodes -= 1
            raise KvCacheFull
        if self.num_cells is not None and self.cells_used + new > self.num_cells:
            raise KvCacheFull
        for chunk in self._batch:
            cells = self.slots[chunk.slot]
            assert chunk.start == len(cells), "a hole or an overlap in the sequence"
            cells.extend(Cell(token) for token in chunk.tokens)
            if self.memory.window_tokens:
                assert self._first[chunk.slot] <= self.memory.first_needed(chunk.start), "a hole"
                kept = self.memory.window_tokens + self.window_slack
                self._first[chunk.slot] = max(self._first[chunk.slot], len(cells) - kept)
        self.batches.append(self._batch)

    def sample(self, row: int, sampler: Sampler) -> int:
        assert isinstance(sampler, FakeSampler)
        assert not sampler.closed
        return next_token(self._past(row))

    def _past(self, row: int) -> list[int]:
        slot, position = self._outputs[row]
        return [cell.token for cell in self.slots[slot][: position + 1]]

    def logprobs(self, row: int) -> "FakeLogprobs":
        return FakeLogprobs(self._past(row))

    def new_sampler(
        self, params: SamplingParams, prompt: Sequence[int], grammar: Grammar | None
    ) -> FakeSampler:
        sampler = FakeSampler()
        self.samplers.append(sampler)
        return sampler

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> bool:
        assert not self.memory.exact, "a state is shared as it is now, whatever was asked for"
        self.slots[target] = self.slots[source][:num_tokens]
        self._first[target] = self._first[source]
        if len(self.slots[target]) < num_tokens:  # the source lost it a moment ago
            return self._empty(target)
        return self._keep(target, num_tokens)

    def truncate(self, slot: int, num_tokens: int) -> bool:
        assert not self.memory.exact or num_tokens in (0, len(self.slots[slot])), "a cut state"
        del self.slots[slot][num_tokens:]
        return self._keep(slot, num_tokens)

    def restore(self, slot: int, state: State, num_tokens: int) -> bool:
        assert isinstance(state, FakeState)
        self.slots[slot] = [Cell(token) for token in state.tokens]
        self._first[slot] = self.memory.first_saved(len(state.tokens))
        full = self.num_cells is not None and self.cells_used > self.num_cells
        if full or self.refuse_restores > 0:
            self.refuse_restores -= 1
            return self._empty(slot)
        return self.truncate(slot, num_tokens)

    def state_bytes(self, slot: int) -> int:
        return 4 * len(self.slots[slot])

    def save(self, slot: int) -> "FakeState":
        return FakeState([cell.token for cell in self.slots[slot]])

    def first_position(self, slot: int) -> int:
        return self._first[slot]

    def _keep(self, slot: int, num_tokens: int) -> bool:
        """False, and the slot empty, if cells are gone that the next token looks at."""
        if not num_tokens:
            self._first[slot] = 0
        if self._first[slot] <= self.memory.first_needed(num_tokens):
            return True
        return self._empty(slot)

    def _empty(self, slot: int) -> bool:
        self.slots[slot] = []
        self._first[slot] = 0
        return False


@dataclass
class FakeState:
    """The tokens of a slot, 4 bytes each."""

    tokens: list[int]

    @property
    def nbytes(self) -> int:
        return 4 * len(self.tokens)


def text_of(tokens: Sequence[int]) -> str:
    """One letter for each token, so that equal texts are equal tokens."""
    return "".join(chr(0x100 + token) for token in tokens)


class FakeVocabulary:
    """Tokens are letters; token 0 ends an answer."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [ord(letter) - 0x100 for letter in text]

    def fewest_tokens(self, text: str) -> int:
        return len(text)

    def piece(self, token: int) -> bytes:
        return text_of([token]).encode()

    def spelling(self, token: int) -> bytes:
        return self.piece(token)

    def is_end(self, token: int) -> bool:
        return token == END_TOKEN

    def __len__(self) -> int:
        return VOCABULARY_SIZE


def vector_of(tokens: Sequence[int]) -> Vector:
    """What the fake embedding model computes: every token counts, and its place."""
    return np.array([next_token(tokens[start:]) for start in range(4)], np.float32)


@dataclass
class FakeVectorRunner:
    """Checks what llama.cpp would abort on."""

    max_inputs: int = 4
    max_tokens: int = 32
    size: int = 4
    batches: list[list[list[int]]] = field(default_factory=list)

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[Vector]:
        assert 1 <= len(inputs) <= self.max_inputs
        assert all(inputs), "an input without tokens"
        assert sum(map(len, inputs)) <= self.max_tokens
        self.batches.append([list(tokens) for tokens in inputs])
        return [vector_of(tokens) for tokens in inputs]
