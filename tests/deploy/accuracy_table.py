"""The table in docs/accuracy.md. ``python -m tests.deploy.accuracy_table`` renews it."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from gguf_deploy.planning.measuring import Measurer
from tests.deploy.accuracy import CONFIGURATIONS, Cell, cells
from tests.deploy.architectures import ARCHITECTURES

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
_HEAD = f"| model | where | {' | '.join(CONFIGURATIONS)} |\n|---|---|{'---:|' * 5}\n"


def table(all_cells: Iterable[Cell]) -> str:
    """A row for each model and placement."""
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in all_cells:
        rows.setdefault((cell.architecture, cell.placement), []).append(_shown(cell))
    return _HEAD + "".join(f"| {' | '.join((*key, *row))} |\n" for key, row in rows.items())


def with_table(page: str, renewed: str) -> str:
    """The page with its table renewed; it is the last thing on it."""
    return page[: page.index("| model | where |")] + renewed


def _shown(cell: Cell) -> str:
    """What llama.cpp says in all, and by how much the formula is off."""
    size = sum(use.weights + use.cache + use.compute for use in cell.measured)
    total = f"{size / 2**30:.1f} GiB {_percent(cell.total_error)}"
    return f"{total} ({_percent(cell.compute_error)})" if cell.is_exact else total


def _percent(share: float) -> str:
    """Without a sign where nothing is left to see of the error."""
    rounded = round(100 * share, 2)
    return f"{rounded:+.2f} %" if rounded else "0"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Measurer() as measurer:
        found = [cell for name in ARCHITECTURES for cell in cells(measurer, Path(folder), name)]
    PAGE.write_text(with_table(PAGE.read_text(), table(found)))


if __name__ == "__main__":
    main()
