"""Loads that stall or crash. The kubelet's probes are the chart's own."""

import pytest

from tests.cluster import bad_loads
from tests.cluster.conftest import require_cluster
from tests.cluster.kube import Kube
from tests.hub.server import Hub

pytestmark = pytest.mark.cluster
require_cluster()


def test_a_load_that_stalls_is_replaced_by_the_server_and_everybody_is_told_why(
    kube: Kube, hub: Hub
) -> None:
    often = {"GGUF_LOAD_STALL_SECONDS": "10", "GGUF_MAX_CRASHES": "99"}
    release = bad_loads.install(kube, hub, bad_loads.STALLS, **often)
    restarts = 'engine_restarts_total{cause="stall"}'
    kube.until(lambda: release.metric(restarts), "the stall is noticed")
    reason = "made no progress for"
    status = kube.deploy("status", "bad")
    assert status.returncode != 0
    assert reason in status.stdout
    [pod] = release.pods()
    name = pod["metadata"]["name"]
    assert reason in kube.logs(name)
    kube.kubectl("exec", name, "--container", "server", "--", "touch", bad_loads.GO)
    release.wait_until_ready()
    assert release.server()["restartCount"] == 0
    assert release.chat()


def test_a_crash_loop_ends_the_container_and_the_reason_is_its_last_word(
    kube: Kube, hub: Hub
) -> None:
    release = bad_loads.install(kube, hub, bad_loads.CRASHES)
    kube.until(lambda: release.server().get("lastState", {}).get("terminated"), "it gave up")
    ended = release.server()["lastState"]["terminated"]
    assert ended["exitCode"] == 4
    reason = "2 engines crashed while loading it; last, the engine"
    assert reason in ended["message"]
    assert "SIGABRT" in ended["message"]
    status = kube.deploy("status", "bad")
    assert status.returncode != 0
    assert reason in status.stdout
