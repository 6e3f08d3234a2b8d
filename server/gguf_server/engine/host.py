"""Prefixes kept in host memory when their slot is needed: bounded, least recently used first out.

A passive store: the scheduler looks things up, the generator moves the bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gguf_server.engine.memory import Memory
from gguf_server.engine.prefix import PrefixTree
from gguf_server.engine.runner import State


@dataclass(frozen=True, slots=True, eq=False)
class SavedPrefix:
    """The state of a sequence after ``tokens``."""

    id: int
    tokens: list[int]
    state: State


class HostCache:
    """Saved prefixes, ``used_bytes`` of them, and how they fared."""

    def __init__(self, memory: Memory, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.restored_tokens_total = 0
        self.failed_restores_total = 0
        self._memory = memory
        self._tree = PrefixTree()
        self._saved: dict[int, SavedPrefix] = {}  # least recently used first
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._saved)

    def find(self, tokens: Sequence[int], most: int) -> tuple[SavedPrefix | None, int]:
        """What helps most with ``tokens``, and how many of the first ``most`` it gives."""
        best, best_tokens = None, 0
        for saved_id, shared in self._tree.holders(tokens).items():
            saved = self._saved[saved_id]
            held = len(saved.tokens)
            first = self._memory.first_saved(held)
            num_tokens = self._memory.lendable(min(shared, most), held, first)
            if num_tokens > best_tokens:
                best, best_tokens = saved, num_tokens
        return best, best_tokens

    def longest_shared(self, tokens: Sequence[int]) -> int:
        """How many of ``tokens`` begin something saved, whether or not they can be had of it."""
        return max(self._tree.holders(tokens).values(), default=0)

    def covers(self, tokens: Sequence[int]) -> bool:
        """Whether saving ``tokens`` would add nothing."""
        return self.find(tokens, len(tokens))[1] == len(tokens)

    def make_room(self, num_bytes: int) -> bool:
        """Drop the oldest until so many bytes fit; False, and nothing dropped, if they never do."""
        if num_bytes > self.limit_bytes:
            return False
        while self.used_bytes + num_bytes > self.limit_bytes:
            self._drop(next(iter(self._saved)))
        return True

    def put(self, tokens: list[int], state: State) -> None:
        """Keep a state for which there is room."""
        for saved_id in self._made_redundant_by(tokens):
            self._drop(saved_id)
        self._last_id += 1
        self._saved[self._last_id] = SavedPrefix(self._last_id, tokens, state)
        self._tree.claim(self._last_id, tokens)
        self.used_bytes += state.nbytes

    def touch(self, saved: SavedPrefix) -> None:
        """It is being used: the last to be dropped from now on."""
        if saved.id in self._saved:
            self._saved[saved.id] = self._saved.pop(saved.id)

    def restored(self, num_tokens: int) -> None:
        self.restored_tokens_total += num_tokens

    def failed(self, saved: SavedPrefix) -> None:
        """It could not be restored, and most likely never can be."""
        self.failed_restores_total += 1
        if saved.id in self._saved:
            self._drop(saved.id)

    def _made_redundant_by(self, tokens: list[int]) -> list[int]:
        """The saved beginnings of ``tokens`` that a state of all of them can stand in for."""
        first = self._memory.first_saved(len(tokens))
        return [
            saved_id
            for saved_id, shared in self._tree.holders(tokens).items()
            if shared == len(self._saved[saved_id].tokens)
            and self._memory.lendable(shared, len(tokens), first)
        ]

    def _drop(self, saved_id: int) -> None:
        self.used_bytes -= self._saved.pop(saved_id).state.nbytes
        self._tree.release(saved_id)
