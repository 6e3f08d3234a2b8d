"""The dashboard by itself. What it asks for is checked against a real server in tests/e2e."""

import itertools
import re
from dataclasses import fields
from typing import Any

import pytest

from gguf_server.settings.declared import flag_name
from gguf_server.settings.serve import Settings
from tests.charts import dashboard
from tests.charts.dashboard import Query

PANELS = dashboard.panels()
QUERIES = dashboard.queries()
SELECTOR = 'job=~"$job", namespace=~"$namespace", pod=~"$pod"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GRID_COLUMNS = 24


def _title(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def _expr(query: Query) -> str:
    return query.panel


@pytest.mark.parametrize("panel", PANELS, ids=_title)
def test_a_panel_says_what_it_shows_in_which_unit_and_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == DATASOURCE
    assert len(panel["description"]) > 80
    assert panel["description"].endswith(".")


@pytest.mark.parametrize("panel", PANELS, ids=_title)
def test_advice_names_only_options_that_exist(panel: dict[str, Any]) -> None:
    options = {flag_name(field) for field in fields(Settings)}
    assert set(re.findall(r"--[a-z-]+[a-z]", panel["description"])) <= options


@pytest.mark.parametrize("query", QUERIES, ids=_expr)
def test_a_query_is_promql_for_the_chosen_servers(query: Query) -> None:
    dashboard.parse(query.expr)
    assert query.expr.count("gguf_server_") == query.expr.count(SELECTOR)


@pytest.mark.parametrize("query", QUERIES, ids=_expr)
def test_a_legend_uses_labels_that_the_result_has(query: Query) -> None:
    assert query.legend_labels <= dashboard.grouping(query.expr)


def test_what_is_no_promql_would_be_found() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        dashboard.parse("sum(rate(x[$__rate_interval])")


def test_ids_and_titles_are_there_once() -> None:
    all_panels = dashboard.load()["panels"]
    for key in ("id", "title"):
        values = [panel[key] for panel in all_panels]
        assert sorted(set(values)) == sorted(values)
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert sorted(set(references)) == references
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])


def test_panels_do_not_overlap_and_fill_their_lines() -> None:
    cells: list[tuple[int, int]] = []
    for panel in dashboard.load()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= GRID_COLUMNS
        columns, lines = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells += itertools.product(columns, lines)
    assert len(set(cells)) == len(cells)
    assert len(cells) == GRID_COLUMNS * (1 + max(line for _, line in cells))


def test_the_variables_choose_servers_by_what_prometheus_knows() -> None:
    variables = dashboard.load()["templating"]["list"]
    assert [each["name"] for each in variables] == ["datasource", "job", "namespace", "pod"]
    assert variables[0]["type"] == "datasource"
    for each in variables[1:]:
        # ".*" also matches a series without the label: there are no pods outside of Kubernetes.
        assert (each["allValue"], each["includeAll"], each["datasource"]) == (
            ".*",
            True,
            DATASOURCE,
        )
        assert each["query"]["query"].endswith(f", {each['name']})")
