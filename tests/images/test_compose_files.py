"""What deploy/compose says, read without Docker."""

import json
import re
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gguf_server.settings.declared import environment_name
from gguf_server.settings.models import FetchSettings
from gguf_server.settings.serve import Settings
from tests.charts import dashboard
from tests.images.compose_project import ROOT

PLACE = ROOT / "deploy" / "compose"
SAMPLE = (PLACE / ".env.example").read_text()
# By the server, and by docs/operations.md.
DOCUMENTED_ELSEWHERE = {
    "GGUF_API_KEYS",
    "PROMETHEUS_IMAGE",
    "PROMETHEUS_PORT",
    "GRAFANA_IMAGE",
    "GRAFANA_PORT",
}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PLACE / name).read_text())
    return found


COMPOSE = read("compose.yaml")
SERVICES = COMPOSE["services"]


def test_every_variable_is_in_the_sample_and_the_sample_has_no_others() -> None:
    text = (PLACE / "compose.yaml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text)) - DOCUMENTED_ELSEWHERE - {"VLLM_IMAGE"}
    named = set(re.findall(r"^#?([A-Z_]+)=", SAMPLE, re.MULTILINE))
    options = {environment_name(each.name) for each in fields(Settings)}
    assert used <= named
    assert named - used - options == {"COMPOSE_FILE"}
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert all(name in guide for name in DOCUMENTED_ELSEWHERE)


def test_what_is_set_for_the_containers_are_options() -> None:
    for service, settings in (("fetch", FetchSettings), ("server", Settings)):
        names = {
            name for name in SERVICES[service]["environment"] if name.startswith(("GGUF", "MODEL"))
        }
        assert names <= settings.variables()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned_and_containers_confined(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":-[a-z/-]+:(cuda|v?\d+\.\d+\.\d+)}$", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only") or name == "vllm"


def test_open_requests_are_finished_before_the_container_is_killed() -> None:
    [grace] = re.findall(
        r"^\${STOP_GRACE_PERIOD:-(\d+)s}$", SERVICES["server"]["stop_grace_period"]
    )
    settings = Settings()
    assert int(grace) > settings.drain_delay_seconds + settings.drain_grace_seconds


def test_docker_waits_for_as_long_as_the_least_plan_would_make_it() -> None:
    assert SERVICES["server"]["healthcheck"]["start_period"] == "1800s"


def test_the_token_is_only_where_something_is_fetched() -> None:
    holders = {name for name, each in SERVICES.items() if "hf_token" in each.get("secrets", [])}
    assert holders == {"fetch", "vllm"}
    assert (PLACE / "secrets" / "none").read_bytes() == b""


def test_git_takes_no_secret_in() -> None:
    assert (PLACE / "secrets" / ".gitignore").read_text().splitlines()[0] == "*"
    assert ".env" in (PLACE / ".gitignore").read_text().splitlines()


def test_prometheus_asks_the_server() -> None:
    [job] = read("monitoring/prometheus.yml")["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert SERVICES[host]["environment"]["GGUF_PORT"] == port
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_grafana_asks_prometheus_and_shows_our_dashboard() -> None:
    [source] = read("monitoring/grafana/datasource.yaml")["datasources"]
    where = urlsplit(source["url"])
    assert f":{where.port}" in SERVICES[str(where.hostname)]["ports"][0]
    [choice, *_] = dashboard.load()["templating"]["list"]
    assert choice["query"] == source["type"] == "prometheus"
    assert source["isDefault"], "the dashboard's variable takes the default"

    [provider] = read("monitoring/grafana/dashboards.yaml")["providers"]
    [mount] = SERVICES["grafana"]["volumes"]
    on_host, inside, mode = mount.split(":")
    assert (inside, mode) == (provider["options"]["path"], "ro")
    assert (PLACE / on_host).resolve() == dashboard.PATH.parent
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{inside}/{dashboard.PATH.name}"
    assert json.loads(dashboard.PATH.read_text())["uid"]


def test_configs_and_secrets_are_files_that_are_there() -> None:
    for about in COMPOSE["configs"].values():
        assert (PLACE / about["file"]).is_file()
    for about in COMPOSE["secrets"].values():
        default = about["file"].partition(":-")[2].rstrip("}")
        assert (PLACE / default).is_file()
    for service in SERVICES.values():
        for used in service.get("configs", []):
            assert used["source"] in COMPOSE["configs"]
