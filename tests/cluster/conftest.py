"""A cluster for all tests of this directory, and a namespace for each."""

import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cluster import images
from tests.cluster.cluster import ROOT, go_tools, take, why_not
from tests.cluster.kube import Kube, Release
from tests.hub.server import Hub

IMAGE = "gguf-server:cpu"
NEXT_TAG = "next"  # the same image by another name: another version, as far as Kubernetes knows
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
REPOSITORY = "gguf-tests/smol"
_EXISTING = os.environ.get("GGUF_TEST_KUBECONFIG", "")
_LONGEST_SECONDS = 1800.0  # of the first test, before which everything is built
# Two cores for everything: a pod gets along with little.
SMALL: dict[str, Any] = {"GGUF_SLOTS": "2", "GGUF_CONTEXT_TOKENS": "512", "GGUF_THREADS": "1"}

NewRelease = Callable[..., Release]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_LONGEST_SECONDS))


def require_cluster() -> None:
    """Modules of tests call this: where there can be none they are one skipped line each."""
    if reason := not _EXISTING and why_not():
        pytest.skip(f"{reason}; then: make test-cluster", allow_module_level=True)


@pytest.fixture(scope="session")
def tools() -> Path:
    return go_tools("kubernetes", "pause", "helm3", "helm4")


@pytest.fixture(scope="session")
def kubeconfig(tools: Path) -> Iterator[Path]:
    if _EXISTING:
        yield Path(_EXISTING)
        return
    subprocess.run([ROOT / "scripts" / "images", "cpu"], check=True)
    cluster = take()
    try:
        cluster.start(tools)
        images.import_image(cluster.layout, ROOT / "scripts" / "docker", IMAGE)
        images.tag(cluster.layout, IMAGE, f"gguf-server:{NEXT_TAG}")
        yield cluster.layout.kubeconfig
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def new_namespace(tools: Path, kubeconfig: Path) -> Iterator[Callable[[], Kube]]:
    """What runs in one has to be as careful as Kubernetes can ask for."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    with ExitStack() as undo:

        def new() -> Kube:
            kube = Kube(tools, kubeconfig, f"gguf-test-{uuid.uuid4().hex[:8]}")
            about = {"name": kube.namespace, "labels": restricted}
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
            undo.callback(remove, kube)
            return kube

        yield new


def remove(kube: Kube) -> None:
    kube.kubectl("delete", "namespace", kube.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture
def kube(new_namespace: Callable[[], Kube]) -> Iterator[Kube]:
    """A namespace of one test."""
    found = new_namespace()
    yield found
    remove(found)


@pytest.fixture(scope="session")
def host_address(kubeconfig: Path, tools: Path) -> str:
    """This machine, as pods see it."""
    view = ("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    server = urlsplit(Kube(tools, kubeconfig).kubectl(*view).stdout)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((server.hostname, server.port or 443))
        return str(way.getsockname()[0])


@contextmanager
def smol_hub(address: str) -> Iterator[Hub]:
    from gguf_server.settings.serve import Settings  # noqa: PLC0415

    source = Settings().source
    assert isinstance(source, Path)
    assert source.name == MODEL
    with Hub(addresses=(address, address)) as hub:
        hub.repository(REPOSITORY, {MODEL: source})
        yield hub


@pytest.fixture(scope="session")
def hub(host_address: str) -> Iterator[Hub]:
    with smol_hub(host_address) as hub:
        yield hub


@pytest.fixture
def slow_hub(host_address: str) -> Iterator[Hub]:
    """Of one test."""
    with smol_hub(host_address) as hub:
        yield hub


def values(hub: Hub, **more: Any) -> dict[str, Any]:
    """The chart's defaults, the model, and where it comes from."""
    return {"model": {"name": REPOSITORY}, "fetch": {"endpoint": hub.endpoint}} | more
