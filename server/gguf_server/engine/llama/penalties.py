"""Logit edits of one sequence: bias, repetition, presence and frequency. Pure numpy, in place.

Only the tokens concerned are touched; llama.cpp's penalty sampler looks every token of the
vocabulary up in a hash map, and its ring buffer is allocated for the whole window.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gguf_server.engine.llama.truncation import Row

_FIRST_CAPACITY = 64


class TokenCounts:
    """How often each token occurs, as arrays that index a row of logits."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._ids = np.zeros(_FIRST_CAPACITY, np.intp)
        self._counts = np.zeros(_FIRST_CAPACITY, np.float32)
        self._index: dict[int, int] = {}
        for token in tokens:
            self.add(token)

    @property
    def ids(self) -> npt.NDArray[np.intp]:
        return self._ids[: len(self._index)]

    @property
    def counts(self) -> npt.NDArray[np.float32]:
        return self._counts[: len(self._index)]

    def add(self, token: int) -> None:
        place = self._index.get(token)
        if place is None:
            place = self._index[token] = len(self._index)
            if place == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._ids[place], self._counts[place] = token, 0
        self._counts[place] += 1

    def remove(self, token: int) -> None:
        place = self._index[token]
        self._counts[place] -= 1
        if self._counts[place] > 0:
            return
        last = len(self._index) - 1
        moved = int(self._ids[last])
        self._ids[place], self._counts[place] = moved, self._counts[last]
        self._index[moved] = place
        del self._index[token]


class Bias:
    """Adds a constant to some tokens; minus infinity bans one."""

    def __init__(self, logit_bias: Mapping[int, float], banned: Iterable[int] = ()) -> None:
        biases = {**logit_bias, **dict.fromkeys(banned, -np.inf)}
        self._ids = np.fromiter(biases, np.intp, len(biases))
        self._values = np.fromiter(biases.values(), np.float32, len(biases))

    def apply(self, row: Row) -> None:
        row[self._ids] += self._values

    def accept(self, token: int) -> None:
        """A bias does not change with the output."""


class RepeatPenalty:
    """Divides the logits of the last tokens, of prompt and output, as llama.cpp does.

    ``last_n`` -1 remembers everything.
    """

    def __init__(self, penalty: float, last_n: int, prompt: Sequence[int]) -> None:
        self._penalty = np.float32(penalty)
        self._last_n = last_n
        self._window = deque(prompt if last_n < 0 else prompt[-last_n:])
        self._seen = TokenCounts(self._window)

    def apply(self, row: Row) -> None:
        ids = self._seen.ids
        logits = row[ids]
        row[ids] = np.where(logits > 0, logits / self._penalty, logits * self._penalty)

    def accept(self, token: int) -> None:
        self._seen.add(token)
        self._window.append(token)
        if 0 <= self._last_n < len(self._window):
            self._seen.remove(self._window.popleft())


class OutputPenalty:
    """OpenAI's presence and frequency penalties: they look at the output only."""

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence, self._frequency = np.float32(presence), np.float32(frequency)
        self._seen = TokenCounts()

    def apply(self, row: Row) -> None:
        row[self._seen.ids] -= self._presence + self._frequency * self._seen.counts

    def accept(self, token: int) -> None:
        self._seen.add(token)
