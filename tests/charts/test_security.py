"""Pod Security "restricted", and more: the token, the root, the model's volume."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.rendering import CI_VALUES, Json, environment, render

# https://kubernetes.io/docs/concepts/security/pod-security-standards/
VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret", "image"),
}
UNRESTRICTED = {"host-path-values"}


def pods(objects: list[Json]) -> Iterator[Json]:
    for each in objects:
        if each["kind"] == "Pod":
            yield each["spec"]
        elif each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]


def containers(pod: Json) -> list[Json]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def offences(pod: Json) -> Iterator[str]:
    """Against the profile "restricted"."""
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "the host's namespaces"
    for volume in pod.get("volumes", []):
        if not VOLUMES.issuperset(volume.keys() - {"name"}):
            yield f"volume {volume}"
    around = pod.get("securityContext", {})
    for container in containers(pod):
        yield from _offences(container, around)


def _offences(container: Json, around: Json) -> Iterator[str]:
    own = container.get("securityContext", {})
    context: dict[str, Any] = {**around, **own}
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield f"{container['name']}: privileges"
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        yield f"{container['name']}: capabilities"
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield f"{container['name']}: root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{container['name']}: seccomp"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield f"{container['name']}: port of the host"


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
def test_pods_are_restricted(file: Path) -> None:
    found = [each for pod in pods(render({}, file).objects) for each in offences(pod)]
    assert bool(found) == (file.stem in UNRESTRICTED), found


def test_offences_would_be_found() -> None:
    bare = {"containers": [{"name": "c"}], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}
    assert len(list(offences(bare))) == 5


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
def test_nothing_but_the_volumes_can_be_written_to(file: Path) -> None:
    for pod in pods(render({}, file).objects):
        for container in containers(pod):
            if container["name"] in ("fetch", "server", "completion"):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("engine", ["llama-cpp", "vllm"])
def test_only_what_fetches_sees_the_hub_s_token_and_writes_models(engine: str) -> None:
    values = {
        "engine": engine,
        "gpu": {"count": 1},
        "fetch": {"token": {"existingSecret": "hub", "key": "t"}},
    }
    found = render(values)
    token = {"secretKeyRef": {"name": "hub", "key": "t"}}
    assert environment(found.fetch)["HF_TOKEN"] == token
    assert "HF_TOKEN" not in environment(found.server)
    assert found.fetch["volumeMounts"][0] == {"name": "models", "mountPath": "/models"}
    mount = {"name": "models", "mountPath": "/models", "readOnly": True}
    assert mount in found.server["volumeMounts"]


def test_where_a_job_fetches_only_it_sees_the_token() -> None:
    values = {
        "fetch": {"prefetch": True, "token": {"existingSecret": "hub"}},
        "volume": {"accessModes": ["ReadWriteMany"]},
    }
    found = render(values)
    job = found.one("Job")["spec"]["template"]["spec"]["containers"][0]
    assert "HF_TOKEN" in environment(job)
    assert "HF_TOKEN" not in environment(found.fetch)


def test_pods_have_no_token_of_the_cluster() -> None:
    found = render()
    assert all(not pod["automountServiceAccountToken"] for pod in pods(found.objects))
    assert found.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_openshift_chooses_user_and_group() -> None:
    nulls = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    context = render({"podSecurityContext": nulls}).pod["securityContext"]
    assert context == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
