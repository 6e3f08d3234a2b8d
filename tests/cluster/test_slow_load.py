"""A load that takes long. It has been going on beside all other tests: this module is the last."""

import json

import pytest

from tests.cluster.conftest import SLOW_SECONDS, require_cluster
from tests.cluster.kube import Release

pytestmark = pytest.mark.cluster
require_cluster()


def test_a_load_that_outlasts_many_probes_survives(slow_release: Release) -> None:
    release, kube = slow_release, slow_release.kube
    shown = json.loads(kube.deploy("status", "bad", "--json").stdout)
    assert shown["state"] in ("progressing", "well")
    release.wait_until_ready()
    assert release.server()["restartCount"] == 0
    assert release.metric('engine_restarts_total{cause="stall"}') == 0
    assert release.metric('load_seconds{stage="weights"}') >= SLOW_SECONDS
    assert release.chat()
