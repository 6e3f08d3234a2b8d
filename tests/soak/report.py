"""The table of a soak."""

from collections import Counter
from collections.abc import Sequence

from tests.soak.soak import Life
from tests.soak.subject import Holding
from tests.soak.verdict import growth

_MIB = 1 << 20


def table(lives: Sequence[Life]) -> str:
    """Markdown: a column for each server."""
    rows = [("", *(life.leg.name for life in lives))]
    rows += list(zip(_NAMES, *map(_column, lives), strict=True))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * (len(lives) + 1) + "|", *lines[1:]])


_NAMES = (
    "requests",
    "finished",
    "left by their client",
    "bad, refused as they should be",
    "refused or failed otherwise",
    "while the server was replaced",
    "broken",
    "engines killed, aborted, stopped",
    "engines replaced (crash, stall)",
    "preemptions",
    "API: file descriptors, tasks, child processes, at first and at last",
    "API: memory at first and at last, growth",
    "engine: the same, in peace",
    "engine: memory",
    "slots, KV cells that could be had",
)


def _column(life: Life) -> list[str]:
    kinds: Counter[str] = Counter()
    num_bad = 0
    for (name, kind), count in life.tally.endings.items():
        is_bad = name == "bad" and kind == "refused"
        num_bad += count * is_bad
        kinds[kind] += count * (not is_bad)
    engines = [quiet.engine for quiet in life.peace]
    apis = [quiet.api for quiet in life.quiets]
    fill = life.fill
    assert fill is not None
    return [
        f"{life.tally.endings.total():,}",
        f"{kinds['finished']:,}",
        f"{kinds['left']:,}",
        f"{num_bad:,}",
        f"{kinds['refused'] + kinds['failed']:,}",
        f"{kinds['unreached']:,}",
        f"{kinds['broken']:,}",
        ", ".join(str(life.chaos[name]) for name in ("killed", "aborted", "stopped")),
        ", ".join(f"{life.restarts.get(cause, 0):.0f}" for cause in ("crash", "stall")),
        f"{life.preemptions:,.0f}",
        _counts(apis),
        _memory(apis),
        _counts(engines),
        _memory(engines),
        f"{fill.finished} of {fill.slots}, {fill.cells_used:,} of {fill.cells_asked:,}",
    ]


def _counts(holdings: Sequence[Holding]) -> str:
    if not holdings:
        return "not looked at"
    first, last = holdings[0], holdings[-1]
    pairs = [
        (first.descriptors, last.descriptors),
        (first.tasks, last.tasks),
        (first.children, last.children),
    ]
    return ", ".join(f"{a} → {b}" for a, b in pairs)


def _memory(holdings: Sequence[Holding]) -> str:
    if not holdings:
        return "not looked at"
    sizes = [each.memory_bytes for each in holdings]
    seen = f"{sizes[0] / _MIB:.1f} → {sizes[-1] / _MIB:.1f} MiB"
    return f"{seen}, {growth(sizes):+.1%}" if len(sizes) > 2 else seen
