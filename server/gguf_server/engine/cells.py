"""How many KV cells are taken, by whom, and what that leaves for others. Pure.

Two layouts of llama.cpp's cache. Split: every slot has a stream of its own, so nothing can run
short, and sharing a prefix is a copy. Unified: one pool, where slots that share a prefix share
its cells, counted here once. A cell is pinned while a busy slot refers to it; the others can be
had back by forgetting idle slots.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

_Cells = npt.NDArray[np.int32]


class Cells(Protocol):
    """The account of one cache, in cells. Slots are numbered from 0."""

    total: int

    @property
    def used(self) -> int: ...
    @property
    def free(self) -> int:
        """Cells that can be written right now."""
        ...

    @property
    def unpinned(self) -> int:
        """Cells that could be written once every idle slot is forgotten."""
        ...

    def length(self, slot: int) -> int: ...
    def extend(self, slot: int, num_tokens: int) -> None: ...
    def truncate(self, slot: int, num_tokens: int) -> None: ...
    def share(self, source: int, target: int, num_tokens: int) -> None:
        """Let the empty ``target`` hold the first ``num_tokens`` of ``source``."""
        ...

    def set_busy(self, slot: int, *, busy: bool) -> None: ...
    def pinned_prefix(self, slot: int, num_tokens: int) -> int:
        """How many of the first ``num_tokens`` cells of ``slot`` are pinned already."""
        ...


class SplitCells:
    """A stream of ``context_tokens`` cells for each slot."""

    def __init__(self, slots: int, context_tokens: int) -> None:
        self.total = slots * context_tokens
        self._lengths = [0] * slots

    @property
    def used(self) -> int:
        return sum(self._lengths)

    @property
    def free(self) -> int:
        return self.total

    @property
    def unpinned(self) -> int:
        return self.total

    def length(self, slot: int) -> int:
        return self._lengths[slot]

    def extend(self, slot: int, num_tokens: int) -> None:
        self._lengths[slot] += num_tokens

    def truncate(self, slot: int, num_tokens: int) -> None:
        self._lengths[slot] = min(self._lengths[slot], num_tokens)

    def share(self, source: int, target: int, num_tokens: int) -> None:
        assert num_tokens <= self._lengths[source]
        self._lengths[target] = num_tokens

    def set_busy(self, slot: int, *, busy: bool) -> None:
        pass  # a stream belongs to its slot, busy or not

    def pinned_prefix(self, slot: int, num_tokens: int) -> int:  # noqa: ARG002
        return 0


class UnifiedCells:
    """One pool of ``total`` cells with reference counts."""

    def __init__(self, slots: int, total: int) -> None:
        self.total = total
        self._free = list(range(total - 1, -1, -1))
        self._references = np.zeros(total, np.int32)
        self._pins = np.zeros(total, np.int32)
        self._num_pinned = 0
        self._held: list[list[int]] = [[] for _ in range(slots)]
        self._busy = [False] * slots

    @property
    def used(self) -> int:
        return self.total - len(self._free)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def unpinned(self) -> int:
        return self.total - self._num_pinned

    def length(self, slot: int) -> int:
        return len(self._held[slot])

    def extend(self, slot: int, num_tokens: int) -> None:
        assert num_tokens <= len(self._free)
        at = len(self._free) - num_tokens
        taken = self._free[at:]
        del self._free[at:]
        self._held[slot] += taken
        self._references[taken] = 1  # nobody shares a new cell: no counting on the decode path
        if self._busy[slot]:
            self._pins[taken] = 1
            self._num_pinned += num_tokens

    def truncate(self, slot: int, num_tokens: int) -> None:
        dropped = self._held[slot][num_tokens:]
        if not dropped:
            return
        del self._held[slot][num_tokens:]
        cells = np.array(dropped, np.int32)
        if self._busy[slot]:
            self._unpin(cells)
        self._references[cells] -= 1
        self._free += cells[self._references[cells] == 0].tolist()

    def share(self, source: int, target: int, num_tokens: int) -> None:
        assert num_tokens <= len(self._held[source])
        assert not self._held[target]
        self._held[target] = self._held[source][:num_tokens]
        cells = np.array(self._held[target], np.int32)
        self._references[cells] += 1
        if self._busy[target]:
            self._pin(cells)

    def set_busy(self, slot: int, *, busy: bool) -> None:
        if busy == self._busy[slot]:
            return
        self._busy[slot] = busy
        cells = np.array(self._held[slot], np.int32)
        if busy:
            self._pin(cells)
        else:
            self._unpin(cells)

    def pinned_prefix(self, slot: int, num_tokens: int) -> int:
        cells = np.array(self._held[slot][:num_tokens], np.int32)
        return int(np.count_nonzero(self._pins[cells]))

    def _pin(self, cells: _Cells) -> None:
        self._num_pinned += int(np.count_nonzero(self._pins[cells] == 0))
        self._pins[cells] += 1

    def _unpin(self, cells: _Cells) -> None:
        self._pins[cells] -= 1
        self._num_pinned -= int(np.count_nonzero(self._pins[cells] == 0))
