"""What may not be left after a soak, judged from what was counted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.soak.subject import Holding, Quiet

MOST_GROWTH = 0.05
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Fill:
    """As many requests at once as there are slots, together as large as the cache."""

    slots: int
    cells_asked: int
    cells_used: int
    preempted: int
    finished: int

    def problems(self) -> list[str]:
        found = []
        if self.cells_used != self.cells_asked or self.preempted:
            cells = f"{self.cells_used} of {self.cells_asked} KV cells could be had"
            found.append(f"{cells}, {self.preempted} requests lost their slot over it")
        if self.finished < self.slots:
            found.append(f"{self.finished} of {self.slots} requests that fill the cache finished")
        return found


def growth(memory_bytes: Sequence[int]) -> float:
    """How much more is held at the end than at the beginning: the least of the last third over the
    most of the first. What is leaked again and again is in each of the last; what goes up and
    down, or is taken once, is not."""
    if len(memory_bytes) < _FEWEST:
        return 0.0
    third = len(memory_bytes) // _FEWEST
    return min(memory_bytes[-third:]) / max(memory_bytes[:third]) - 1


def leaks(quiets: Sequence[Quiet], peace: Sequence[Quiet]) -> list[str]:
    """The first is after the warm-up, and what the others are compared with. Of ``peace`` the same
    is true for one engine; in ``quiets`` there may be a new one each time."""
    found = [
        f"with no client there, {quiet.connections} connections, {quiet.running} running and "
        f"{quiet.waiting} waiting sequences"
        for quiet in quiets
        if quiet.connections or quiet.running or quiet.waiting
    ]
    found += _left("the API process", [quiet.api for quiet in quiets])
    engines = [quiet.engine for quiet in peace]
    if len({engine.pid for engine in engines}) > 1:
        found.append("an engine was lost, and nobody had taken it away")
    elif engines:
        found += _left("the engine", engines)
    return found


def _left(name: str, holdings: Sequence[Holding]) -> list[str]:
    first, last = holdings[0], holdings[-1]
    counts = {
        "file descriptors": (first.descriptors, last.descriptors),
        "tasks": (first.tasks, last.tasks),
        "child processes": (first.children, last.children),
    }
    found = [f"{name}: {a} {what}, at the end {b}" for what, (a, b) in counts.items() if b > a]
    grown = growth([each.memory_bytes for each in holdings])
    if grown > MOST_GROWTH:
        found.append(f"{name}: its memory grew by {grown:.1%}")
    return found


def miscounted(finished: int, uncertain: int, server_finished: int) -> list[str]:
    """Whether the server counted other ends than its clients saw. Who left does not know."""
    if finished <= server_finished <= finished + uncertain:
        return []
    seen = f"clients saw {finished} sequences end and do not know of {uncertain}"
    return [f"{seen}; the server counted {server_finished}"]
