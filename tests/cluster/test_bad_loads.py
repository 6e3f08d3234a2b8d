"""Loads that take long, stall or crash. The kubelet's probes are the chart's own."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.cluster import bad_loads
from tests.cluster.conftest import SMALL, remove, require_cluster, values
from tests.cluster.kube import CHART, Json, Kube, Release
from tests.hub.server import Hub

pytestmark = pytest.mark.cluster
require_cluster()

SLOW_SECONDS = 200  # twenty of the startup probe's periods


def install(kube: Kube, hub: Hub, body: str, **environment: str) -> Release:
    bad = bad_loads.values_for(kube, body)
    server = {"extraEnv": bad.pop("extraEnv"), "environment": SMALL | environment}
    kube.helm("install", "bad", str(CHART), values=values(hub, server=server, **bad))
    return Release(kube, "bad")


def server_of(release: Release) -> Json:
    """Its container's status, once there is one."""
    for pod in release.pods():
        for status in pod["status"].get("containerStatuses", []):
            found: Json = status
            return found
    return {}


def say(release: Release, path: str) -> httpx.Response | None:
    """What the pod itself says: no Service sends anything to one that is not ready."""
    [pod] = release.pods()
    try:
        return httpx.get(f"http://{pod['status'].get('podIP', '')}:8000/{path}", timeout=30)
    except (httpx.TransportError, httpx.InvalidURL):
        return None


def metric(release: Release, name: str) -> float:
    answer = say(release, "metrics")
    for line in answer.text.splitlines() if answer else ():
        if line.startswith(f"gguf_server_{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


@pytest.fixture(scope="session")
def slow_release(new_namespace: Callable[[], Kube], hub: Hub) -> Iterator[Release]:
    """It loads beside all other tests; the one that waits for it is the last."""
    kube = new_namespace()
    yield install(kube, hub, bad_loads.slow(SLOW_SECONDS))
    remove(kube)


def test_a_load_that_stalls_is_replaced_by_the_server_and_everybody_is_told_why(
    kube: Kube, hub: Hub
) -> None:
    release = install(kube, hub, bad_loads.stalls(2), GGUF_LOAD_STALL_SECONDS="10")
    restarts = 'engine_restarts_total{cause="stall"}'
    kube.until(lambda: server_of(release).get("started") is not None, "the server is started")
    kube.until(lambda: metric(release, restarts) == 1, "the stall is noticed")
    reason = "made no progress for"
    status = kube.deploy("status", "bad")
    assert status.returncode != 0
    assert reason in status.stdout
    release.wait_until_ready()
    assert server_of(release)["restartCount"] == 0
    assert metric(release, restarts) == 2
    [pod] = release.pods()
    assert reason in kube.logs(pod["metadata"]["name"])
    assert release.chat()


def test_a_crash_loop_ends_the_container_and_the_reason_is_its_last_word(
    kube: Kube, hub: Hub
) -> None:
    release = install(kube, hub, bad_loads.CRASHES)
    kube.until(lambda: server_of(release).get("lastState", {}).get("terminated"), "it gave up")
    ended = server_of(release)["lastState"]["terminated"]
    assert ended["exitCode"] == 4
    reason = "2 engines crashed while loading it; last, the engine"
    assert reason in ended["message"]
    assert "SIGABRT" in ended["message"]
    status = kube.deploy("status", "bad")
    assert status.returncode != 0
    assert reason in status.stdout


def test_a_load_that_outlasts_many_probes_survives(slow_release: Release) -> None:
    release, kube = slow_release, slow_release.kube
    stage = say(release, "startupz")
    assert stage is None or stage.status_code == 503
    shown = json.loads(kube.deploy("status", "bad", "--json").stdout)
    assert shown["state"] == "progressing"
    release.wait_until_ready()
    status = server_of(release)
    assert status["restartCount"] == 0
    assert release.chat()
