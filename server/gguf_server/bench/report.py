"""One row a workload, as a table for people and as a record for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gguf_server.bench.stats import Summary
from gguf_server.bench.workloads import Workload

COLUMNS = (
    *("workload", "done", "failed", "out tok/s", "TTFT p50", "p95"),
    *("ITL p50", "p95", "max", "cached", "wall"),
)
UNITS = "TTFT and wall in seconds, ITL (gaps between two texts of a stream) in milliseconds"


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload; ``failures`` are counts by kind, ``example`` is the first one's message."""

    workload: Workload
    summary: Summary
    failures: dict[str, int]
    example: str = ""


def table(rows: Sequence[Measured]) -> str:
    lines = aligned([COLUMNS, *(_cells(row) for row in rows)])
    return "\n".join([*lines, UNITS, *(note for row in rows for note in _notes(row))])


def record(rows: Sequence[Measured]) -> list[dict[str, Any]]:
    return [
        {"name": row.workload.name, "title": row.workload.title}
        | {"concurrency": row.workload.concurrency}
        | asdict(row.summary)
        | {"failures": row.failures, "example": row.example or None}
        for row in rows
    ]


def number(value: float | None, *, scale: float = 1.0, digits: int = 2) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """First column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        lines.append("  " + "  ".join([first.ljust(widths[0]), *numbers]))
    return lines


def _cells(row: Measured) -> tuple[str, ...]:
    summary = row.summary
    return (
        row.workload.name,
        str(summary.num_completed),
        str(summary.num_requests - summary.num_completed),
        number(summary.output_tokens_per_second, digits=1),
        number(summary.ttft_p50_seconds),
        number(summary.ttft_p95_seconds),
        number(summary.itl_p50_seconds, scale=1e3, digits=1),
        number(summary.itl_p95_seconds, scale=1e3, digits=1),
        number(summary.longest_pause_seconds, scale=1e3, digits=1),
        f"{summary.num_cached_tokens}/{summary.num_prompt_tokens}",
        number(summary.wall_seconds),
    )


def _notes(row: Measured) -> list[str]:
    """What a reader must know before believing the row."""
    notes = []
    if row.failures:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in row.failures.items())
        notes.append(f"! {row.workload.name}: {kinds}; the first: {row.example}")
    if row.summary.num_short:
        notes.append(
            f"! {row.workload.name}: {row.summary.num_short} answers ended before the length asked "
            "for; the server does not know ignore_eos, or its context is too short"
        )
    return notes
