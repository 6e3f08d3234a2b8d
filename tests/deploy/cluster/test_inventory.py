"""The real client against an API server of ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import config
from kubernetes.config import incluster_config

from gguf_deploy.cluster.inventory import nodes
from gguf_server.errors import ClusterError, ClusterForbids, ClusterUnreachable
from tests.deploy.cluster import clouds, kube
from tests.deploy.cluster.kube import Kube, kubeconfig

GPU = "nvidia.com/gpu"


@pytest.fixture
def cluster() -> Iterator[Kube]:
    pods = [
        clouds.pod("metal", {GPU: 3}),
        clouds.pod("metal", {GPU: 1}, phase="Pending"),
        clouds.pod("metal", {GPU: 4}, phase="Succeeded"),
        clouds.pod("", {GPU: 8}, phase="Pending"),
        clouds.pod("eks", {GPU: 4}),
        clouds.pod("shared", {GPU: 9}),
        clouds.pod("plain", {"cpu": 1}),
    ]
    with Kube(clouds.ALL, pods) as server:
        yield server


@pytest.fixture
def file(cluster: Kube, tmp_path: Path) -> str:
    return str(kubeconfig(tmp_path / "config", cluster.url))


def refused(error: type[ClusterError], *args: str, **options) -> str:
    with pytest.raises(error) as caught:
        nodes(*args, **options)
    assert type(caught.value) is error
    assert "\n" not in caught.value.message
    return caught.value.message


def test_every_node_is_found_with_what_is_free(file: str) -> None:
    found = nodes(kubeconfig=file)
    assert {each.name for each in found} == {each["metadata"]["name"] for each in clouds.ALL}
    free = {each.name: each.free for each in found}
    counts = {each.name: each.count for each in found}
    assert (counts["metal"], free["metal"]) == (8, 4)
    assert (counts["eks"], free["eks"]) == (4, 0)
    assert (counts["shared"], free["shared"]) == (4, 0)
    assert (counts["gke"], free["gke"]) == (1, 1)


@pytest.mark.parametrize("page_size", [1, 2, 5, 18, 19, 500])
def test_pages_of_any_size_are_the_same_list(cluster: Kube, file: str, page_size: int) -> None:
    whole = nodes(kubeconfig=file)
    cluster.asked.clear()
    cluster.page_size = page_size
    assert nodes(kubeconfig=file) == whole
    assert sum("/nodes?" in path for path in cluster.asked) == -(-len(clouds.ALL) // page_size)


def test_only_pods_that_count_are_asked_for(cluster: Kube, file: str) -> None:
    nodes(kubeconfig=file)
    (asked,) = [path for path in cluster.asked if "/pods?" in path]
    assert "fieldSelector=spec.nodeName%21%3D%2Cstatus.phase%21%3DSucceeded" in asked


def test_a_list_that_expires_is_read_again_as_a_whole(cluster: Kube, file: str) -> None:
    whole = nodes(kubeconfig=file)
    cluster.page_size, cluster.expires = 2, True
    assert nodes(kubeconfig=file) == whole
    assert cluster.asked[-1] == (
        "/api/v1/pods?fieldSelector=spec.nodeName%21%3D%2Cstatus.phase%21%3DSucceeded"
        "%2Cstatus.phase%21%3DFailed"
    )


def test_an_empty_cluster_has_no_nodes(cluster: Kube, file: str) -> None:
    cluster.lists["nodes"] = ()
    assert nodes(kubeconfig=file) == []
    cluster.says = (200, b'{"metadata": {}, "items": null}')
    assert nodes(kubeconfig=file) == []


def test_without_pods_what_is_free_is_not_known(cluster: Kube, file: str) -> None:
    cluster.forbidden = {"pods"}
    found = nodes(kubeconfig=file)
    assert {each.free for each in found} == {None}
    assert sum(each.count for each in found if each.name == "metal") == 8


def test_who_may_not_list_nodes_reads_which_permission_to_ask_for(cluster: Kube, file: str) -> None:
    cluster.forbidden = {"nodes"}
    said = refused(ClusterForbids, kubeconfig=file)
    assert said.startswith(f"you may not list nodes of the cluster at {cluster.url}")
    assert 'User "jo" cannot list nodes' in said
    assert said.endswith("ask for a cluster role with the verb list on nodes")


def test_who_is_not_known_reads_to_log_in(cluster: Kube, file: str) -> None:
    cluster.token = "somebody else's"
    said = refused(ClusterForbids, kubeconfig=file)
    assert "does not know who you are (401); log in again" in said
    cluster.token = "jo"
    assert nodes(kubeconfig=file)


def test_who_logs_in_with_a_program_that_is_missing_is_nobody(
    cluster: Kube, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = kubeconfig(tmp_path / "config", cluster.url)
    content = json.loads(path.read_text())
    program = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "no-such-plugin"}
    content["users"][0]["user"] = {"exec": program}
    path.write_text(json.dumps(content))
    message = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"'
    cluster.says = (403, json.dumps({"message": message}).encode())
    said = refused(ClusterForbids, kubeconfig=str(path))
    assert "does not know who you are (403); log in again" in said
    assert "no-such-plugin" in caplog.text  # the client itself says it


def test_nobody_there_is_unreachable(cluster: Kube, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", cluster.url)
    said = refused(ClusterUnreachable, "nowhere", kubeconfig=str(file))
    assert said == (
        "the cluster at https://127.0.0.1:1 does not answer: Failed to establish a new connection:"
        " [Errno 111] Connection refused; is it running, and is this its address?"
    )


@pytest.mark.parametrize("what", ["nodes", "pods"])
def test_silence_is_unreachable(cluster: Kube, file: str, what: str) -> None:
    cluster.slow = {what}
    said = refused(ClusterUnreachable, kubeconfig=file, timeout_seconds=0.2)
    assert "does not answer" in said
    assert "timed out" in said


@pytest.mark.parametrize("what", ["nodes", "pods"])
def test_an_answer_that_breaks_off_is_unreachable(cluster: Kube, file: str, what: str) -> None:
    cluster.cut = {what}
    assert "does not answer" in refused(ClusterUnreachable, kubeconfig=file)


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (200, b"<html>welcome</html>", "is no Kubernetes cluster; check the kubeconfig"),
        (200, b"[]", "is no Kubernetes cluster"),
        (200, b'{"ok": true}', "is no Kubernetes cluster"),
        (200, b"\xff\xfe", "is no Kubernetes cluster"),
        (500, b"oops", "500 Internal Server Error; try again"),
        (503, b'{"message": "etcd\\nis gone"}', "503 etcd is gone; try again"),
        (410, b"{}", "410 Gone; try again"),
        (404, b'{"message": null}', "404 "),
    ],
)
def test_other_answers_are_one_line(
    cluster: Kube, file: str, code: int, body: bytes, said: str
) -> None:
    cluster.says = (code, body)
    with pytest.raises(ClusterUnreachable) as caught:
        nodes(kubeconfig=file)
    assert said in caught.value.message
    assert cluster.url in caught.value.message
    assert "\n" not in caught.value.message


def test_a_certificate_of_nobody_we_know_is_unreachable(cluster: Kube, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", cluster.url)
    content = json.loads(path.read_text())
    del content["clusters"][0]["cluster"]["certificate-authority"]
    path.write_text(json.dumps(content))
    said = refused(ClusterUnreachable, kubeconfig=str(path))
    assert "does not answer: " in said
    assert "certificate verify failed" in said


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "5", "clusters: 5", "current-context: x", "contexts: [{}]"]
)
def test_a_kubeconfig_that_is_no_good_is_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    said = refused(ClusterUnreachable, kubeconfig=str(path))
    assert said.startswith(f"there is no way to a cluster in {path}: ")
    assert said.endswith("set KUBECONFIG, or look at kubectl config get-contexts")


def test_a_context_that_is_not_there_is_named(file: str) -> None:
    said = refused(ClusterUnreachable, "elsewhere", kubeconfig=file)
    assert f"in {file} with context elsewhere" in said


def test_inside_a_pod_its_account_is_used(
    cluster: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("the pod's")
    cluster.token = "the pod's"
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(kube.CERTIFICATE))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.port))
    assert len(nodes()) > len(clouds.ALL)
    said = refused(ClusterUnreachable, "here")  # who names a context wants no other cluster
    assert "with context here" in said


def test_the_usual_kubeconfig_is_the_environments(file: str) -> None:
    program = "from gguf_deploy.cluster.inventory import nodes; print(len(nodes()))"
    environ = {**os.environ, "KUBECONFIG": file, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == len(clouds.ALL) + 2  # one node has three sizes


def test_a_plan_without_a_cluster_imports_no_client() -> None:
    program = "import gguf_deploy.commands.plan, sys; print('kubernetes' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
