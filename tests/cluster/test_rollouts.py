"""New versions, broken versions and the way back, under load; and pods that are taken away."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import (
    MODEL,
    NEXT_TAG,
    REPOSITORY,
    SMALL,
    remove,
    require_cluster,
    values,
)
from tests.cluster.kube import CHART, Kube, Release
from tests.cluster.load import Load
from tests.hub.content import File
from tests.hub.server import Hub

pytestmark = pytest.mark.cluster
require_cluster()

# Two pods that share a volume. They leave quickly: their requests are short.
PAIR: dict[str, Any] = {
    "replicas": 2,
    "volume": {"accessModes": ["ReadWriteMany"]},
    "server": {"environment": SMALL},
    "readinessProbe": {"periodSeconds": 1},
}
BROKEN = {"image": {"tag": "broken"}}  # there is none


def upgrade(release: Release, hub: Hub, **more: Any) -> None:
    every = PAIR | values(hub) | more
    release.kube.helm("upgrade", "--install", release.instance, str(CHART), values=every)


@pytest.fixture(scope="module")
def pair(new_namespace: Callable[[], Kube], hub: Hub) -> Iterator[Release]:
    """Two pods that serve. Each test leaves them so."""
    kube = new_namespace()
    release = Release(kube, "pair")
    upgrade(release, hub)
    release.wait_until_ready()
    yield release
    remove(kube)


def names(release: Release) -> set[str]:
    return {pod["metadata"]["name"] for pod in release.pods()}


def image(release: Release) -> str:
    return str(release.deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def is_refused(release: Release) -> bool:
    """A pod of the new version is there, and its image is not."""
    waiting = [
        status["state"].get("waiting", {}).get("reason", "")
        for pod in release.pods()
        for status in pod["status"].get("initContainerStatuses", [])
    ]
    return any(reason in ("ErrImagePull", "ImagePullBackOff") for reason in waiting)


def evict(kube: Kube, pod: str) -> tuple[int, str]:
    """The eviction API's verdict: 201, or the error as kubectl tells it."""
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{pod}/eviction"
    about = {"name": pod, "namespace": kube.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
    done = kube.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body), check=False)
    return done.returncode, done.stderr


def test_a_rolling_upgrade_under_load_fails_no_request(pair: Release, hub: Hub) -> None:
    before = names(pair)
    with Load(pair) as load:
        pair.kube.until(lambda: load.num_answers, "it is under load")
        upgrade(pair, hub, image={"tag": NEXT_TAG})
        pair.wait_until_ready()
        pair.kube.until(lambda: not before & names(pair), "the old pods are gone")
    assert load.failures == []
    assert image(pair).endswith(f":{NEXT_TAG}")


@pytest.mark.parametrize("how", ["kubectl rollout undo", "helm rollback", "gguf-deploy rollback"])
def test_a_broken_image_takes_no_pod_away_and_is_undone_without_a_download(
    pair: Release, hub: Hub, how: str
) -> None:
    kube, good, before = pair.kube, image(pair), names(pair)
    sent = hub.bytes_sent()
    with Load(pair) as load:
        upgrade(pair, hub, **BROKEN)
        kube.until(lambda: is_refused(pair), "the new pod has no image")
        assert before <= names(pair)
        undo(kube, how)
        pair.wait_until_ready()
    assert load.failures == []
    assert load.num_answers
    assert image(pair) == good
    assert names(pair) == before
    assert hub.bytes_sent() == sent


def undo(kube: Kube, how: str) -> None:
    match how:
        case "kubectl rollout undo":
            kube.kubectl("rollout", "undo", "deployment/pair-gguf-server")
        case "helm rollback":
            kube.helm("rollback", "pair")
        case _:
            done = kube.deploy("rollback", "pair")
            assert done.returncode == 0, done.stderr


def test_undo_brings_the_model_of_before_back_without_a_download(kube: Kube, hub: Hub) -> None:
    release = Release(kube, "pinned")
    repository = hub.repositories[REPOSITORY]
    old = repository.refs["main"]
    new = repository.commit({MODEL: File(repository.commits[old][MODEL].path)}, branch="newer")
    for commit in (old, new):
        about = {"model": {"name": REPOSITORY, "revision": commit}}
        kube.helm(
            *("upgrade", "--install", "pinned", str(CHART)),
            values=values(hub, server={"environment": SMALL}) | about,
        )
        release.wait_until_ready()
    sent = hub.bytes_sent()
    kube.kubectl("rollout", "undo", f"deployment/{release.name}")
    release.wait_until_ready()
    [pod] = release.pods()
    assert old in kube.logs(pod["metadata"]["name"])
    assert release.chat()
    assert hub.bytes_sent() == sent


def test_a_pod_deleted_while_it_downloads_is_followed_by_one_that_resumes(
    kube: Kube, slow_hub: Hub
) -> None:
    size = next(iter(slow_hub.repositories[REPOSITORY].commits.values()))[MODEL].size_bytes
    slow_hub.bytes_per_second = 5e6
    release = Release(kube, "resumes")
    server = {"environment": SMALL}
    kube.helm("install", "resumes", str(CHART), values=values(slow_hub, server=server))
    kube.until(lambda: slow_hub.bytes_sent(MODEL) > size / 4, "a quarter is there")
    [first] = names(release)
    kube.kubectl("delete", "pod", first)
    slow_hub.bytes_per_second = 0
    release.wait_until_ready()
    assert first not in names(release)
    assert slow_hub.bytes_sent(MODEL) < 1.25 * size


def test_an_eviction_is_refused_where_the_disruption_budget_says_so(pair: Release) -> None:
    first, second = sorted(names(pair))
    assert evict(pair.kube, first)[0] == 0
    code, why = evict(pair.kube, second)
    assert code != 0
    assert "Cannot evict pod as it would violate the pod's disruption budget" in why
    assert "TooManyRequests" in why
    pair.wait_until_ready()
