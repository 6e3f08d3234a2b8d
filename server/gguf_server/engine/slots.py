"""Which slot holds what, who may take it over or copy from it, and who makes way. Pure.

A slot is busy (a sequence runs in it), idle (it keeps a prefix that may be wanted again) or free.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gguf_server.engine.cells import Cells
from gguf_server.engine.host import HostCache, SavedPrefix
from gguf_server.engine.memory import Memory
from gguf_server.engine.operations import CopyPrefix, Operation, Restore, Save, Truncate
from gguf_server.engine.prefix import PrefixTree

# Fewer shared tokens than this are cheaper to compute again than to copy, to save or to wait for.
MIN_SHARED_TOKENS = 16

# A state is saved whole, also what others have of it: worth it if so many times what would be lost
# is at least all of it. Copying a token costs a tenth to a hundredth of computing it.
_SAVING_PAYS = 8


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a sequence goes, and who gives it its first ``num_tokens``.

    ``source`` is a slot, itself when ``source == slot``, or something in host memory.
    """

    slot: int
    source: int | SavedPrefix
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Offer:
    """The best seat now, and what speaks for waiting.

    ``promised`` tokens will be there once the slot ``promiser`` has computed them. ``seen`` tokens
    begin other sequences too, although they may have to be computed again.
    """

    seat: Seat
    promised: int
    promiser: int
    seen: int


class Slots:
    """``memory`` None: nothing can be reused, so every sequence starts from nothing."""

    def __init__(
        self,
        count: int,
        cells: Cells,
        memory: Memory | None,
        host: HostCache,
        first_position: Callable[[int], int],
    ) -> None:
        self.evicted_total = 0
        self.cells = cells
        self.memory = memory or Memory()
        self.host = host
        self._reuse = memory is not None
        self._first_position = first_position
        self._tree = PrefixTree()
        self._free = set(range(count))
        self._idle: dict[int, list[int]] = {}  # with their tokens, least recently used first
        self._operations: list[Operation] = []

    @property
    def any_idle(self) -> bool:
        return bool(self._idle)

    @property
    def takes_checkpoints(self) -> bool:
        """Whether states are saved on the way: where a prefix cannot be cut out of a longer one."""
        return self._reuse and self.memory.exact and self.host.limit_bytes > 0

    def take_operations(self) -> list[Operation]:
        """What has to be done by now, once."""
        operations, self._operations = self._operations, []
        return operations

    # --- finding a seat ----------------------------------------------------------------------

    def find(self, tokens: Sequence[int], most: int) -> Offer:
        """Where ``tokens`` should go, of which the first ``most`` need no computing."""
        wanted = {slot: min(n, most) for slot, n in self._holders(tokens).items()}
        lendable = {slot: self._lendable(slot, n) for slot, n in wanted.items()}
        best = max(lendable.values(), default=0)
        promised, promiser = max(
            ((n, slot) for slot, n in wanted.items() if self.cells.length(slot) < n),
            default=(0, -1),
        )
        if self.memory.exact and not self.takes_checkpoints:
            promised = 0
        saved, restorable = self._restorable(tokens, most)
        if saved is not None and restorable - best >= MIN_SHARED_TOKENS:
            seat = Seat(self._target(), saved, restorable)
        else:
            seat = self._choose(lendable, best)
        seen = max(wanted.values(), default=0)
        if self.takes_checkpoints:
            seen = max(seen, min(most, self.host.longest_shared(tokens)))
        return Offer(seat, promised, promiser, seen)

    def _holders(self, tokens: Sequence[int]) -> dict[int, int]:
        return self._tree.holders(tokens) if self._reuse else {}

    def _lendable(self, slot: int, wanted: int) -> int:
        held = self.cells.length(slot)
        if self.memory.exact and slot not in self._idle:
            return 0  # its state moves on
        first = self._first_position(slot) if self.memory.window_tokens else 0
        return self.memory.lendable(min(wanted, held), held, first)

    def _restorable(self, tokens: Sequence[int], most: int) -> tuple[SavedPrefix | None, int]:
        if not self._reuse:
            return None, 0
        saved, num_tokens = self.host.find(tokens, most)
        if saved is None or len(saved.tokens) > self.cells.unpinned:
            return None, 0
        return saved, num_tokens

    def _choose(self, lendable: dict[int, int], best: int) -> Seat:
        lenders = [slot for slot, length in lendable.items() if length == best]
        for slot in lenders:
            # Taking over is free, but costs the rest of what the slot held.
            if slot in self._idle and 2 * best >= self.cells.length(slot):
                return Seat(slot, slot, best)
        target = self._target()
        if lendable.get(target, 0) == best or best < MIN_SHARED_TOKENS:
            return Seat(target, target, lendable.get(target, 0))
        return Seat(target, lenders[0], best)

    def _target(self) -> int:
        return min(self._free) if self._free else next(iter(self._idle))

    # --- taking and leaving ------------------------------------------------------------------

    def take(self, seat: Seat, tokens: list[int]) -> None:
        """Sit down: what the slot held makes way, what ``seat`` promises is put there."""
        slot = seat.slot
        in_place = seat.source == slot
        self._free.discard(slot)
        held = self._idle.pop(slot, None)
        if held is not None:
            self._save(slot, held, kept=seat.num_tokens if in_place else 0)
            self.evicted_total += 0 if in_place else 1
        if in_place:
            self._truncate(slot, seat.num_tokens)
        else:
            self.cells.truncate(slot, 0)
            self._fetch(seat)
        self.cells.set_busy(slot, busy=True)
        self._tree.claim(slot, tokens)

    def leave(self, slot: int, tokens: list[int]) -> None:
        """The sequence ended; ``tokens`` are what it computed, and stay as an idle prefix."""
        self.cells.set_busy(slot, busy=False)
        if self._reuse and tokens:
            self._tree.claim(slot, tokens)
            self._idle[slot] = tokens
        else:
            self._forget(slot)

    def give_up(self, slot: int) -> None:
        """The sequence must go; its cells are needed."""
        self.cells.set_busy(slot, busy=False)
        self._forget(slot)

    def evict(self) -> None:
        """Forget the idle prefix that was used longest ago."""
        slot = next(iter(self._idle))
        self._save(slot, self._idle.pop(slot), kept=0)
        self.evicted_total += 1
        self._forget(slot)

    def checkpoint(self, slot: int, tokens: list[int]) -> Save | None:
        """Save what a busy slot holds at this moment, unless that is known already."""
        return None if self.host.covers(tokens) else Save(slot, tokens)

    # --- what moves --------------------------------------------------------------------------

    def _fetch(self, seat: Seat) -> None:
        if isinstance(seat.source, SavedPrefix):
            # llama.cpp puts everything back before it cuts.
            while self.cells.free < len(seat.source.tokens) and self._idle:
                self.evict()
            self.host.touch(seat.source)
            self.cells.extend(seat.slot, seat.num_tokens)
            self._operations.append(Restore(seat.source, seat.slot, seat.num_tokens))
            return
        if seat.source in self._idle:  # lending counts as being used
            self._idle[seat.source] = self._idle.pop(seat.source)
        self.cells.share(seat.source, seat.slot, seat.num_tokens)
        self._operations.append(CopyPrefix(seat.source, seat.slot, seat.num_tokens))

    def _save(self, slot: int, held: list[int], kept: int) -> None:
        """Keep what is about to be lost of an idle slot, if nobody else has it."""
        if self.host.limit_bytes == 0 or len(held) - kept < MIN_SHARED_TOKENS:
            return
        elsewhere = max(
            (
                self._lendable(other, shared)
                for other, shared in self._tree.holders(held).items()
                if other != slot
            ),
            default=0,
        )
        _, saved = self.host.find(held, len(held))
        lost = len(held) - max(elsewhere, saved)
        if lost * _SAVING_PAYS >= len(held):
            self._operations.append(Save(slot, held))

    def _forget(self, slot: int) -> None:
        self._tree.release(slot)
        self._truncate(slot, 0)
        self._free.add(slot)

    def _truncate(self, slot: int, num_tokens: int) -> None:
        if self.cells.length(slot) > num_tokens:
            self.cells.truncate(slot, num_tokens)
            self._operations.append(Truncate(slot, num_tokens))
