"""The dashboard beside the /metrics of a server that has served, on a machine with fake GPUs."""

from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.charts import dashboard
from tests.charts.dashboard import SCRAPE_LABELS, Selection
from tests.e2e.conftest import ServerUnderTest, until
from tests.server.supervisor.fake_nvml import FakeDriver

SELECTIONS = sorted(
    {each for query in dashboard.queries() for each in dashboard.selections(query.expr)},
    key=lambda each: (each.series, sorted(each.labels)),
)
NOT_SHOWN = {
    "gguf_server_host_cache_entries": "their bytes are what runs out",
    "gguf_server_engine_up": "the engine's states tell more; this one is for alerts",
}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Metric]]:
    driver = FakeDriver.build(tmp_path_factory.mktemp("driver"))
    server = ServerUnderTest("--slots", "2", "--context", "256", environment=driver.environment)
    server.wait_until_ready()
    assert server.post("v1/completions", prompt="Once", max_tokens=4).status_code == 200
    until(lambda: "gpu_memory_used_bytes{" in server.get("metrics").text, "the GPUs are seen")
    yield list(text_string_to_metric_families(server.get("metrics").text))
    server.stop()


@pytest.fixture(scope="module")
def labels_of(families: list[Metric]) -> dict[str, set[str]]:
    """The labels of each series, by its name as queries have it."""
    samples = [sample for family in families for sample in family.samples]
    found: dict[str, set[str]] = {sample.name: set() for sample in samples}
    for sample in samples:
        found[sample.name] |= set(sample.labels)
    return found


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda each: each.series)
def test_what_a_query_selects_is_there(
    labels_of: dict[str, set[str]], selection: Selection
) -> None:
    assert selection.series in labels_of
    assert selection.labels - SCRAPE_LABELS <= labels_of[selection.series]


def test_rates_are_of_counters_and_counters_are_seen_as_rates(families: list[Metric]) -> None:
    counting = {
        sample.name
        for family in families
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }
    for selection in SELECTIONS:
        assert selection.is_rate == (selection.series in counting), selection.series


def test_every_series_is_shown_or_left_out_for_a_reason(families: list[Metric]) -> None:
    selected = {each.series for each in SELECTIONS}
    unseen = {
        family.name
        for family in families
        if not selected & {sample.name for sample in family.samples}
    }
    assert unseen == set(NOT_SHOWN)


def test_the_variables_of_the_dashboard_come_from_a_series_that_is_always_there(
    labels_of: dict[str, set[str]],
) -> None:
    for variable in dashboard.load()["templating"]["list"][1:]:
        assert variable["query"]["query"].startswith("label_values(gguf_server_build_info")
    assert "gguf_server_build_info" in labels_of
