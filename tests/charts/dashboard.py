"""The Grafana dashboard as data: its panels, and what their queries ask Prometheus for."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, Call, Expr, VectorSelector

PATH = Path(__file__).parents[2] / "charts" / "gguf-server" / "dashboards" / "gguf-server.json"
# What Prometheus itself adds to a series when it scrapes one.
SCRAPE_LABELS = {"job", "namespace", "pod", "instance"}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and what the legend makes of its labels."""

    panel: str
    expr: str
    legend_labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Selection:
    """A series that an expression selects; ``labels`` are all that it selects or groups it by."""

    series: str
    labels: frozenset[str]
    is_rate: bool


def load() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PATH.read_text())
    return content


def panels() -> list[dict[str, Any]]:
    """Those that show something: all but the rows."""
    return [panel for panel in load()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    return [
        Query(
            panel["title"],
            target["expr"],
            frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])),
        )
        for panel in panels()
        for target in panel["targets"]
    ]


def parse(expr: str) -> Expr:
    """As Grafana sends it; raises ``ValueError`` where Prometheus would refuse it."""
    return promql_parser.parse(re.sub(r"\$__rate_interval", "5m", expr))


def selections(expr: str) -> Iterator[Selection]:
    around: list[Expr] = []
    found: list[Selection] = []

    def enter(node: Expr) -> None:
        around.append(node)
        if isinstance(node, VectorSelector):
            found.append(_selection(node, around))

    def leave(node: Expr) -> None:
        around.pop()

    promql_parser.walk(parse(expr), enter, leave)
    yield from found


def grouping(expr: str) -> set[str]:
    """The labels that a result may still have."""
    found: set[str] = set()

    def enter(node: Expr) -> None:
        found.update(_grouping_of(node))

    promql_parser.walk(parse(expr), enter)
    return found


def _selection(node: VectorSelector, around: list[Expr]) -> Selection:
    assert node.name, "a selector without a name would read every series there is"
    labels = {matcher.name for matcher in node.matchers.matchers}
    return Selection(
        series=node.name,
        labels=frozenset(labels.union(*map(_grouping_of, around))),
        is_rate=any(isinstance(each, Call) and _is_rate(each) for each in around),
    )


def _grouping_of(node: Expr) -> set[str]:
    return set(node.modifier.labels) if isinstance(node, AggregateExpr) and node.modifier else set()


def _is_rate(call: Call) -> bool:
    return call.func.name in ("rate", "increase")
