"""What Prometheus scrapes, what alerts, and what Grafana shows."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from promql_parser import parse

from tests.charts import dashboard
from tests.charts.rendering import FULLNAME, NAMESPACE, Json, render
from tests.charts.tools import ROOT, promtool

RULES: Json = {"metrics": {"rules": {"enabled": True}}}
HERE = Path(__file__).parent


def rules() -> list[Json]:
    (group,) = render(RULES).one("PrometheusRule")["spec"]["groups"]
    found: list[Json] = group["rules"]
    return found


def check(directory: Path, tests: str) -> subprocess.CompletedProcess[str]:
    spec = render(RULES).one("PrometheusRule")["spec"]
    (directory / "rules.yaml").write_text(yaml.safe_dump(spec))
    (directory / "alerts.yaml").write_text(tests)
    command = [str(promtool()), "test", "rules", "alerts.yaml"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    done = check(tmp_path, (HERE / "alerts.yaml").read_text())
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_does_not_fire_would_be_found(tmp_path: Path) -> None:
    text = (HERE / "alerts.yaml").read_text()
    done = check(tmp_path, text.replace("eval_time: 21m", "eval_time: 19m"))
    assert done.returncode != 0
    assert "GgufServerDown" in done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((HERE / "alerts.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}


def test_alerts_ask_for_series_that_there_are() -> None:
    known = set(re.findall(r"`(gguf_server_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    for rule in rules():
        parse(rule["expr"])
        for series in re.findall(r"gguf_server_\w+", rule["expr"]):
            assert series.removesuffix("_bucket") in known, rule["alert"]


def test_the_first_alert_waits_as_long_as_a_load_may_take() -> None:
    def wait(**model: int) -> str:
        (group,) = render(RULES | {"model": model}).one("PrometheusRule")["spec"]["groups"]
        return str(group["rules"][0]["for"])

    assert wait() == "1200s"
    assert wait(sizeBytes=1) == "600s"
    assert wait(sizeBytes=400_000_000_000) == "2939s"


@pytest.mark.parametrize(
    ("kind", "endpoints", "key"),
    [
        ("ServiceMonitor", "endpoints", "serviceMonitor"),
        ("PodMonitor", "podMetricsEndpoints", "podMonitor"),
    ],
)
def test_a_monitor_finds_the_pods_and_nothing_else(kind: str, endpoints: str, key: str) -> None:
    values = {"metrics": {key: {"enabled": True, "labels": {"release": "prometheus"}}}}
    found = render(values)
    monitor = found.one(kind)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"][endpoints]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "15s"}
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    service = found.one("Service")
    target = service if kind == "ServiceMonitor" else found.template
    assert wanted <= target["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["name"] == "http"


def test_grafana_s_sidecar_finds_the_dashboard_as_it_is() -> None:
    found = render({"metrics": {"dashboard": {"enabled": True}}}).one("ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = found["data"].values()
    assert json.loads(text) == dashboard.load()


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_the_queue_decides_how_many_pods_there_are(kind: str) -> None:
    scaling = {"type": kind, "minReplicas": 2, "maxReplicas": 5, "waitingRequests": 3}
    found = render({"autoscaling": scaling, "volume": {"type": "ephemeral"}})
    if kind == "hpa":
        spec = found.one("HorizontalPodAutoscaler")["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
        (metric,) = spec["metrics"]
        assert metric["pods"]["metric"]["name"] == "gguf_server_num_requests_waiting"
        assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "3"}
        behavior = spec["behavior"]
    else:
        spec = found.one("ScaledObject")["spec"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 5)
        (trigger,) = spec["triggers"]
        query = trigger["metadata"]["query"]
        assert trigger["metadata"]["ignoreNullValues"] == "false", "or silence is an empty queue"
        parse(query)
        assert query.startswith("sum(gguf_server_num_requests_waiting{")
        assert f'namespace="{NAMESPACE}"' in query
        assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "3")
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert spec["scaleTargetRef"]["name"] == FULLNAME
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 600


@pytest.mark.parametrize(
    ("pod", "is_ours"),
    [
        ("llm-gguf-server-5d4f9c-x2x2x", True),
        ("llm-gguf-server-test-completion", False),
        ("llm-gguf-server-fetch-12ab34cd-x2x2x", False),
        ("my-llm-gguf-server-5d4f9c-x2x2x", False),
    ],
)
def test_pods_are_known_by_their_names(pod: str, is_ours: bool) -> None:
    """Matchers of Prometheus are anchored at both ends."""
    (pattern,) = set(re.findall(r'pod=~"([^"]+)"', rules()[1]["expr"]))
    assert bool(re.fullmatch(pattern, pod)) is is_ours


@pytest.mark.parametrize("length", range(40, 64))
@pytest.mark.parametrize("digest", ["5d4f9c7b", "5d4f9c7b6d"])
def test_pods_are_known_however_kubernetes_cuts_a_long_name(length: int, digest: str) -> None:
    """As its SimpleNameGenerator does: 58 characters of the base, and 5 more."""
    fullname = "a" * length
    found = render(RULES | {"fullnameOverride": fullname, "fetch": {"prefetch": True}})
    (group,) = found.one("PrometheusRule")["spec"]["groups"]
    (pattern,) = set(re.findall(r'pod=~"([^"]+)"', group["rules"][1]["expr"]))
    assert re.fullmatch(pattern, f"{fullname}-{digest}-"[:58] + "x2x2x")
    assert not re.fullmatch(pattern, found.one("Pod")["metadata"]["name"])
    job = found.one("Job")["metadata"]["name"]
    assert not re.fullmatch(pattern, f"{job}-"[:58] + "x2x2x")
