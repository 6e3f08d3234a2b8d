"""The table in docs/metrics.md. ``python -m tests.server.supervisor.metrics_table`` renews it."""

from pathlib import Path

from prometheus_client import Metric

from tests.server.supervisor.exposition import full_metrics

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
_HEAD = "| series | type | labels | meaning |\n|---|---|---|---|\n"


def table() -> str:
    return _HEAD + "".join(sorted(map(_row, full_metrics().registry.collect())))


def with_table(page: str) -> str:
    """The page with its table renewed; it is the last thing on it."""
    return page[: page.index(_HEAD)] + table()


def _row(family: Metric) -> str:
    suffix = "_total" if family.type == "counter" else ""
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{family.name}{suffix}` | {family.type} | {shown} | {family.documentation} |\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
