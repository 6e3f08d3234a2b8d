"""What is rendered is valid where it is sent: by Kubernetes' schemas and those of the others."""

from pathlib import Path

import jsonschema_rs
import pytest
from kubernetes_validate import validate
from kubernetes_validate.utils import InvalidSchemaError, ValidationError

from tests.charts.rendering import CI_VALUES, NEWEST, OLDEST, Json, Refused, render
from tests.charts.tools import definitions

VERSIONS = (OLDEST, "1.34", NEWEST)
# Shapes that older ones refuse, and since when they do not.
SINCE = {"dra-values": "1.34", "image-volume-values": "1.35"}
OF_OTHERS = {api for api, _ in definitions()}
IDS = [file.stem.removesuffix("-values") for file in CI_VALUES]


def check(document: Json, version: str) -> None:
    """Strict: what a schema does not know is refused, as an API server drops or refuses it."""
    api, kind = document["apiVersion"], document["kind"]
    if api in OF_OTHERS:
        jsonschema_rs.validator_for(_strict(definitions()[api, kind])).validate(document)
    else:
        validate(document, version, strict=True)


def _strict(schema: Json) -> Json:
    """As pruning: no property beside those that are named; only metadata is free."""
    found = dict(schema)
    if properties := schema.get("properties"):
        found["properties"] = {
            name: inside if name == "metadata" else _strict(inside)
            for name, inside in properties.items()
        }
        found.setdefault("additionalProperties", False)
    if "items" in schema:
        found["items"] = _strict(schema["items"])
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", CI_VALUES, ids=IDS)
def test_objects_are_valid(file: Path, version: str) -> None:
    since = SINCE.get(file.stem, OLDEST)
    if int(version.split(".")[1]) < int(since.split(".")[1]):
        with pytest.raises(Refused, match=f"wants Kubernetes {since}"):
            render({}, file, kubernetes=version)
        return
    for document in render({}, file, kubernetes=version).objects:
        check(document, version)


def test_what_is_invalid_would_be_found() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    with pytest.raises((ValidationError, InvalidSchemaError)):
        check(pod | {"spec": {"containers": [{"name": "c", "imge": "i"}]}}, NEWEST)
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor"}
    with pytest.raises(jsonschema_rs.ValidationError):
        check(monitor | {"spec": {"selector": {}, "endpoints": [{"prot": "http"}]}}, NEWEST)


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(Refused, match="incompatible with Kubernetes"):
        render(kubernetes="1.28")


@pytest.mark.parametrize("file", CI_VALUES, ids=IDS)
def test_helm_3_and_helm_4_render_the_same(file: Path) -> None:
    third = render({}, file, helm_version="3").objects
    fourth = render({}, file, helm_version="4").objects
    assert sorted(third, key=_name) == sorted(fourth, key=_name)


def _name(document: Json) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


@pytest.mark.parametrize("file", CI_VALUES, ids=IDS)
def test_every_object_says_whose_it_is(file: Path) -> None:
    for document in render({}, file).objects:
        metadata = document["metadata"]
        if metadata["name"] in ("more", "llm-text"):
            continue  # extraObjects
        assert metadata["namespace"] == "models"
        assert metadata["labels"]["app.kubernetes.io/name"] == "gguf-server"
        assert metadata["labels"]["app.kubernetes.io/instance"] == "llm"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert "app.kubernetes.io/version" in metadata["labels"]


@pytest.mark.parametrize("release", ["gguf-server", "a" * 53, "x-gguf-server-y"])
def test_names_are_short_enough_whatever_the_release_is_called(release: str) -> None:
    values = {
        "fetch": {"prefetch": True},
        "volume": {"accessModes": ["ReadWriteMany"]},
        "gpu": {"count": 1, "mode": "dra"},
        "metrics": {"dashboard": {"enabled": True}},
        "networkPolicy": {"enabled": True},
    }
    found = [each["metadata"]["name"] for each in render(values, release=release).objects]
    assert max(map(len, found)) <= 63
    assert len(set(found)) == 6, (
        "one of all that are named alike, and five with an end of their own"
    )
