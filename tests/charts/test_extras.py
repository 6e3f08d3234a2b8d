"""What is handed on as it is given."""

import pytest

from gguf_server import __version__
from tests.charts.rendering import CHART, Json, Rendered, render

SECURITY: Json = {"securityContext": {}}
LABELS: Json = {"example.com/a": "b"}


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return render({}, CHART / "ci" / "everything-values.yaml")


def test_containers_and_volumes(everything: Rendered) -> None:
    pod = everything.pod
    assert [each["name"] for each in pod["initContainers"]] == ["fetch", "before"]
    assert [each["name"] for each in pod["containers"]] == ["server", "beside"]
    assert pod["volumes"][-1] == {"name": "templates", "configMap": {"name": "templates"}}
    mount = {"name": "templates", "mountPath": "/templates", "readOnly": True}
    assert everything.server["volumeMounts"][-1] == mount
    assert everything.server["args"] == ["--log-level", "debug"]
    assert everything.server["envFrom"] == [{"configMapRef": {"name": "more", "optional": True}}]


def test_resources_are_the_server_s(everything: Rendered) -> None:
    wanted = {"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"memory": "16Gi"}}
    assert everything.server["resources"] == wanted
    assert everything.fetch["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}}


def test_labels_and_annotations(everything: Rendered) -> None:
    template = everything.template["metadata"]
    assert template["labels"]["example.com/team"] == "a"
    assert template["annotations"]["example.com/note"] == "b"
    deployment = everything.one("Deployment")["metadata"]
    assert deployment["annotations"] == {"example.com/note": "c"}
    own = [each for each in everything.objects if "labels" in each["metadata"]]
    assert all(each["metadata"]["labels"]["example.com/cost"] == "d" for each in own)
    service = everything.one("Service")
    assert service["metadata"]["annotations"] == {"example.com/a": "b"}
    assert service["metadata"]["labels"]["example.com/c"] == "d"
    assert service["spec"]["ports"][0]["nodePort"] == 30080


def test_a_label_of_the_user_s_does_not_move_the_pods_out_of_the_service() -> None:
    stolen = {"app.kubernetes.io/component": "other"}
    found = render({"podLabels": stolen, "commonLabels": stolen})
    selector = found.one("Service")["spec"]["selector"]
    assert selector.items() <= found.template["metadata"]["labels"].items()


def test_objects_are_given_as_objects_or_as_text(everything: Rendered) -> None:
    assert everything.one("ConfigMap", "more")["data"] == {"release": "llm"}
    assert everything.one("ConfigMap", "llm-text")


def test_scheduling(everything: Rendered) -> None:
    assert everything.pod["priorityClassName"] == "high"
    assert everything.pod["schedulerName"] == "default-scheduler"
    runtime = render({"gpu": {"runtimeClassName": "nvidia"}}).pod["runtimeClassName"]
    assert runtime == "nvidia"


def test_registries_and_their_secrets() -> None:
    values = {
        "imagePullSecrets": ["a", {"name": "b"}],
        "global": {"imageRegistry": "r.io", "imagePullSecrets": ["a", "c"]},
        "fetch": {"prefetch": True},
    }
    found = render(values)
    names = [{"name": name} for name in ("a", "c", "b")]
    pods = [found.pod, found.one("Job")["spec"]["template"]["spec"], found.one("Pod")["spec"]]
    for pod in pods:
        assert pod["imagePullSecrets"] == names
        images = {each["image"] for each in pod["containers"]}
        assert images == {f"r.io/gguf-server:{__version__}-cpu"}


def test_a_service_account_of_the_user_s() -> None:
    found = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert found.pod["serviceAccountName"] == "mine"
    assert not found.all("ServiceAccount")
    assert render({"serviceAccount": {"create": False}}).pod["serviceAccountName"] == "default"
    named = render({"serviceAccount": {"name": "mine", "annotations": LABELS}})
    assert named.one("ServiceAccount")["metadata"]["name"] == "mine"
    assert named.one("ServiceAccount")["metadata"]["annotations"] == LABELS


def test_other_names() -> None:
    assert render({"fullnameOverride": "x"}).one("Deployment")["metadata"]["name"] == "x"
    found = render({"nameOverride": "server"}).one("Deployment")["metadata"]
    assert found["name"] == "llm-server"
    assert found["labels"]["app.kubernetes.io/name"] == "server"
