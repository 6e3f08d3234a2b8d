"""The account of KV cells against real cells: objects that slots refer to."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.engine.cells import SplitCells, UnifiedCells

SLOTS = 4
TOTAL = 24


@dataclass
class Model:
    """What is true: each slot refers to cell objects, and some slots are busy."""

    held: list[list[object]] = field(default_factory=lambda: [[] for _ in range(SLOTS)])
    busy: set[int] = field(default_factory=set)

    @property
    def used(self) -> int:
        return len({id(cell) for cells in self.held for cell in cells})

    @property
    def pinned(self) -> set[int]:
        return {id(cell) for slot in self.busy for cell in self.held[slot]}


def check(cells: UnifiedCells, model: Model) -> None:
    assert cells.used == model.used
    assert cells.free == TOTAL - model.used
    assert cells.unpinned == TOTAL - len(model.pinned)
    for slot, kept in enumerate(model.held):
        assert cells.length(slot) == len(kept)
        for count in range(len(kept) + 1):
            pinned = sum(id(cell) in model.pinned for cell in kept[:count])
            assert cells.pinned_prefix(slot, count) == pinned


@settings(max_examples=300, deadline=None)
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(["extend", "truncate", "share", "busy", "idle"]),
            st.integers(0, SLOTS - 1),
            st.integers(0, SLOTS - 1),
            st.integers(0, 10),
        ),
        max_size=50,
    )
)
def test_a_unified_pool_counts_what_the_slots_really_refer_to(
    actions: list[tuple[str, int, int, int]],
) -> None:
    cells, model = UnifiedCells(SLOTS, TOTAL), Model()
    for action, slot, other, number in actions:
        match action:
            case "extend":
                count = min(number, TOTAL - model.used)
                cells.extend(slot, count)
                model.held[slot] += [object() for _ in range(count)]
            case "truncate":
                cells.truncate(slot, number)
                del model.held[slot][number:]
            case "share" if slot != other:
                cells.truncate(other, 0)
                count = min(number, len(model.held[slot]))
                cells.share(slot, other, count)
                model.held[other] = model.held[slot][:count]
            case "busy" | "idle":
                cells.set_busy(slot, busy=action == "busy")
                (model.busy.add if action == "busy" else model.busy.discard)(slot)
            case _:
                pass  # a slot does not share with itself
        check(cells, model)
    for slot in range(SLOTS):
        cells.set_busy(slot, busy=False)
        cells.truncate(slot, 0)
    assert (cells.used, cells.free, cells.unpinned) == (0, TOTAL, TOTAL)
    cells.extend(0, TOTAL)
    assert sorted(cells._held[0]) == list(range(TOTAL)), "a cell was lost or doubled"


def test_shared_cells_are_counted_once_and_freed_with_their_last_slot() -> None:
    cells = UnifiedCells(3, 100)
    cells.extend(0, 10)
    cells.share(0, 1, 6)
    assert cells.used == 10
    cells.truncate(0, 0)
    assert cells.used == 6
    cells.truncate(1, 0)
    assert cells.used == 0


def test_cells_of_an_idle_slot_are_unpinned_except_those_a_busy_one_shares() -> None:
    cells = UnifiedCells(3, 100)
    cells.extend(0, 10)
    cells.share(0, 1, 6)
    cells.set_busy(1, busy=True)
    assert cells.unpinned == 94
    assert cells.pinned_prefix(0, 10) == 6
    assert cells.pinned_prefix(0, 4) == 4


def test_more_cells_than_are_free_are_our_own_mistake() -> None:
    cells = UnifiedCells(2, 10)
    cells.extend(0, 8)
    with pytest.raises(AssertionError):
        cells.extend(1, 3)


def test_split_slots_never_take_room_from_each_other() -> None:
    cells = SplitCells(3, 50)
    cells.set_busy(0, busy=True)
    cells.extend(0, 50)
    cells.share(0, 1, 20)
    assert cells.used == 70
    assert cells.free == cells.unpinned == cells.total == 150
    assert [cells.length(slot) for slot in range(3)] == [50, 20, 0]
    assert cells.pinned_prefix(0, 50) == 0, "a stream lends by copying"


def test_a_split_slot_is_cut_to_at_most_what_it_has() -> None:
    cells = SplitCells(2, 50)
    cells.extend(0, 10)
    cells.truncate(0, 20)
    assert cells.length(0) == 10
    cells.truncate(0, 3)
    assert cells.length(0) == 3
