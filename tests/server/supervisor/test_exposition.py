"""All series together: what promtool would say of them, and that the documentation has them."""

import re

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.server.supervisor.exposition import full_metrics
from tests.server.supervisor.metrics_table import PAGE, with_table

FAMILIES = list(text_string_to_metric_families(full_metrics().render().decode()))
COUNTERS = [family for family in FAMILIES if family.type == "counter"]
# promtool's, for all that could come up here.
ABBREVIATED = {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "kib", "mib", "gib"}
NO_BASE_UNITS = {"milliseconds", "microseconds", "minutes", "hours", "kilobytes", "megabytes"} | {
    "gigabytes",
    "percent",
    "bits",
}
TYPES = {"counter", "gauge", "histogram", "summary"}
RESERVED_ENDS = ("_total", "_count", "_sum", "_bucket")


def _name(family: Metric) -> str:
    return family.name


@pytest.mark.parametrize("family", FAMILIES, ids=_name)
def test_a_name_is_one_that_prometheus_wants(family: Metric) -> None:
    words = family.name.split("_")
    assert re.fullmatch(r"gguf_server(_[a-z0-9]+)+", family.name)
    assert not set(words) & (ABBREVIATED | NO_BASE_UNITS | TYPES)
    assert not family.name.endswith(RESERVED_ENDS)
    for unit in ("seconds", "bytes", "ratio", "info"):
        assert unit not in words[:-1], "units are the last word"


@pytest.mark.parametrize("family", FAMILIES, ids=_name)
def test_a_meaning_is_a_sentence(family: Metric) -> None:
    assert re.fullmatch(r"[A-Z0-9].{8,}\.", family.documentation)
    assert "|" not in family.documentation, "it stands in a table"


@pytest.mark.parametrize("family", COUNTERS, ids=_name)
def test_a_counter_ends_in_total(family: Metric) -> None:
    assert {sample.name for sample in family.samples} == {f"{family.name}_total"}


def test_no_family_and_no_series_is_there_twice() -> None:
    names = [family.name for family in FAMILIES]
    assert sorted(set(names)) == sorted(names)
    lines = [line for line in full_metrics().render().decode().splitlines() if line[0] != "#"]
    series = [line.rpartition(" ")[0] for line in lines]
    assert sorted(set(series)) == sorted(series)


def test_there_are_few_series() -> None:
    assert sum(len(family.samples) for family in FAMILIES) < 400


def test_the_documentation_lists_exactly_these_series() -> None:
    page = PAGE.read_text()
    assert page == with_table(page), "renew it: python -m tests.server.supervisor.metrics_table"
