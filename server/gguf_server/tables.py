"""Lines on a terminal, some of them in columns."""

from collections.abc import Iterable, Sequence


def show(lines: Iterable[str]) -> None:
    """Names and texts in them may be anybody's."""
    for line in lines:
        print("".join(letter for letter in line if letter.isprintable()))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """As wide as it must be; the last column is never filled up."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
