"""The chart as a newcomer installs it: nothing set but the model, and where it comes from."""

import pytest

from tests.cluster.conftest import require_cluster, values
from tests.cluster.kube import CHART, Kube, Release
from tests.hub.server import Hub

pytestmark = pytest.mark.cluster
require_cluster()


@pytest.mark.parametrize("major", [3, 4])
def test_with_default_values_it_fetches_the_model_gets_ready_and_chats(
    kube: Kube, hub: Hub, major: int
) -> None:
    release = Release(kube, "smol")
    kube.helm("install", "smol", str(CHART), values=values(hub), major=major)
    release.wait_until_ready()
    assert release.chat()
    [pod] = release.pods()
    [fetch] = pod["status"]["initContainerStatuses"]
    [server] = pod["status"]["containerStatuses"]
    assert fetch["name"] == "fetch"
    assert fetch["state"]["terminated"]["exitCode"] == 0
    assert server["restartCount"] == 0
    kube.helm("test", "smol", major=major)
