"""A cluster for all tests of this directory, and a namespace for each."""

import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gguf_server import __version__
from tests.cluster import bad_loads, images
from tests.cluster.cluster import ROOT, go_tools, take, why_not
from tests.cluster.kube import Kube, Release
from tests.cluster.smol import smol_hub
from tests.hub.server import Hub

TAG = f"{__version__}-cpu"  # the chart's default
NEXT_TAG = "next"  # the same image by another name: another version, as far as Kubernetes knows
_EXISTING = os.environ.get("GGUF_TEST_KUBECONFIG", "")
_LONGEST_SECONDS = 1800.0  # of the first test, before which everything is built
SLOW_SECONDS = 200  # twenty of the startup probe's periods


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_LONGEST_SECONDS))


def require_cluster() -> None:
    """Modules of tests call this: where there can be none they are one skipped line each."""
    if reason := not _EXISTING and why_not():
        pytest.skip(f"{reason}; then: make test-cluster", allow_module_level=True)


@pytest.fixture(scope="package")
def tools() -> Path:
    return go_tools("kubernetes", "pause")


@pytest.fixture(scope="package")
def kubeconfig(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if _EXISTING:
        yield Path(_EXISTING)
        return
    identity = tmp_path_factory.mktemp("image") / "id"
    subprocess.run([ROOT / "scripts" / "images", "cpu", "--iidfile", identity], check=True)
    cluster = take()
    try:
        cluster.start(tools)
        names = (f"gguf-server:{TAG}", f"gguf-server:{NEXT_TAG}")
        images.import_image(
            cluster.layout, ROOT / "scripts" / "docker", identity.read_text(), *names
        )
        yield cluster.layout.kubeconfig
    finally:
        cluster.stop()


@pytest.fixture(scope="package")
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


def remove(kube: Kube, *, wait: bool = False) -> None:
    words = ("--ignore-not-found", f"--wait={str(wait).lower()}")
    kube.kubectl("delete", "namespace", kube.namespace, *words)


@pytest.fixture
def kube(new_namespace: Callable[[], Kube]) -> Iterator[Kube]:
    """A namespace of one test."""
    found = new_namespace()
    yield found
    remove(found)


@pytest.fixture(scope="package")
def host_address(kubeconfig: Path, tools: Path) -> str:
    """This machine, as pods see it."""
    view = ("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    server = urlsplit(Kube(tools, kubeconfig).kubectl(*view).stdout)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((server.hostname, server.port or 443))
        return str(way.getsockname()[0])


@pytest.fixture(scope="package")
def hub(host_address: str) -> Iterator[Hub]:
    with smol_hub(host_address) as hub:
        yield hub


@pytest.fixture
def slow_hub(host_address: str) -> Iterator[Hub]:
    """Of one test."""
    with smol_hub(host_address) as hub:
        yield hub


@pytest.fixture(scope="package")
def slow_release(new_namespace: Callable[[], Kube], hub: Hub) -> Iterator[Release]:
    """A model that takes ``SLOW_SECONDS`` to load."""
    kube = new_namespace()
    yield bad_loads.install(kube, hub, bad_loads.slow(SLOW_SECONDS))
    remove(kube)


@pytest.fixture(scope="package", autouse=True)
def begin_early(request: pytest.FixtureRequest) -> None:
    """What takes long goes on beside the other tests; the one that waits for it is in the last
    module.
    """
    if any("slow_release" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("slow_release")
