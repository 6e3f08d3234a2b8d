"""Every value is used, explained, and in the schema; what is not a value is refused."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gguf_deploy.formats import helm
from gguf_deploy.hardware import find
from tests.charts.rendering import CHART, CI_VALUES, Refused, render
from tests.charts.tools import ROOT
from tests.deploy.placements import moe_on_l40s

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# What is between the braces of templates, and of files that are rendered by them.
TEMPLATES = "\n".join(
    file.read_text() for file in (CHART / "templates").rglob("*") if file.is_file()
)


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Of all values that are no table of others."""
    if isinstance(value, dict) and value and path not in FREE:
        for key, inside in value.items():
            yield from paths(inside, f"{path}.{key}" if path else key)
    else:
        yield path


# Tables that are handed on as they are: what is in them is an example.
FREE = {
    "server.environment",
    "fetch.resources",
    "metrics.dashboard.labels",
    "podSecurityContext",
    "securityContext",
    "readinessProbe",
    "livenessProbe",
}


def uses(path: str) -> bool:
    """By its whole path, or by its last words where a template has its parent at hand."""
    words = path.split(".")
    if f".Values.{path}" in TEMPLATES:
        return True
    at_hand = [
        rf"\$(volume|model|image|metrics|scaling|root\.Values\.{words[0]})\.{words[-1]}\b",
    ]
    parent = ".".join(words[:-1])
    return f".Values.{parent}" in TEMPLATES and any(re.search(each, TEMPLATES) for each in at_hand)


@pytest.mark.parametrize("path", list(paths(VALUES)))
def test_a_value_is_used(path: str) -> None:
    assert uses(path), f"{path} is in values.yaml and in no template"


def test_a_value_that_nobody_uses_would_be_found() -> None:
    assert not uses("gpu.colour")
    assert not uses("colour")


def test_templates_use_only_values_that_there_are() -> None:
    used = set(re.findall(r"\.Values\.([A-Za-z][A-Za-z.]*[A-Za-z])", TEMPLATES))
    known = set(paths(VALUES)) | {
        ".".join(path.split(".")[:depth]) for path in paths(VALUES) for depth in (1, 2, 3)
    }
    assert used <= known | {f"{path}.{key}" for path in FREE for key in _keys(path)}


def _keys(path: str) -> list[str]:
    value = VALUES
    for word in path.split("."):
        value = value[word]
    return list(value)


def test_a_value_is_explained() -> None:
    """By a comment right above it, unless its name says it all."""
    silent, explained = [], False
    for line in (CHART / "values.yaml").read_text().splitlines():
        if re.match(r" *# ", line):
            explained = True
        elif re.match(r" *[A-Za-z]+:", line):
            if not explained and not _is_plain(line):
                silent.append(line)
            explained = False
    assert silent == []


# Kubernetes' own words, or ours that say it all.
PLAIN = {
    *("requests", "cpu", "memory", "periodSeconds", "timeoutSeconds", "failureThreshold"),
    *("interval", "runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "seccompProfile"),
    *("capabilities", "drop"),
    "replicas",
    "model",
    "image",
    "server",
    "vllm",
    "fetch",
    "gpu",
    "volume",
    "drain",
    "rollout",
    "service",
    "ingress",
    "httpRoute",
    "autoscaling",
    "networkPolicy",
    "podDisruptionBudget",
    "metrics",
    "serviceAccount",
    "annotations",
    "labels",
    "enabled",
    "imagePullSecrets",
    "podLabels",
    "podAnnotations",
    "deploymentAnnotations",
    "podSecurityContext",
    "securityContext",
    "allowPrivilegeEscalation",
    "extraVolumes",
    "test",
    "global",
    "create",
    "minReplicas",
    "maxReplicas",
    "hostnames",
    "imageRegistry",
}


def _is_plain(line: str) -> bool:
    return line.partition(":")[0].strip() in PLAIN or line.strip() == "type: RuntimeDefault"


def closed(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Tables of values.yaml whose schema does not say the same keys, and no others."""
    if isinstance(value, dict) and "properties" in schema:
        if set(schema["properties"]) != set(value):
            yield f"{path}: {set(schema['properties']) ^ set(value)}"
        if schema["additionalProperties"] is not (path == "global"):
            yield f"{path}: additionalProperties"
        for key, inside in value.items():
            yield from closed(schema["properties"][key], inside, f"{path}.{key}".lstrip("."))


def test_the_schema_knows_the_values_and_no_others() -> None:
    assert list(closed(SCHEMA, VALUES)) == []


@pytest.mark.parametrize(
    "values",
    [
        {"gpus": 1},
        {"gpu": {"cuont": 1}},
        {"gpu": {"count": "1"}},
        {"gpu": {"mode": "mig"}},
        {"gpu": {"resourceName": "gpu"}},
        {"gpu": {"nodeLabels": {"gcp": []}}},
        {"model": {"name": " org/repo"}},
        {"model": {"sizeBytes": "19GB"}},
        {"model": {"revision": "main:Q8_0"}},
        {"engine": "ollama"},
        {"image": {"digest": "0123"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"server": {"environment": {"GGUF-SLOTS": "1"}}},
        {"server": {"environment": {"GGUF_SLOTS": {"value": "1"}}}},
        {"server": {"extraEnv": [{"value": "x"}]}},
        {"server": {"extraArgs": "--slots 8"}},
        {"volume": {"type": "nfs"}},
        {"volume": {"accessModes": []}},
        {"volume": {"size": "40 GB"}},
        {"startupProbe": {"initialDelaySeconds": 900}},
        {"progressDeadlineSeconds": 0},
        {"rollout": {"maxSurge": "1"}},
        {"service": {"port": 0}},
        {"ingress": {"hosts": ["llm.example.com"]}},
        {"httpRoute": {"requestTimeout": "long"}},
        {"autoscaling": {"type": "vpa"}},
        {"podDisruptionBudget": {"minAvailable": "half"}},
        {"fullnameOverride": "No_Name"},
    ],
    ids=json.dumps,
)
def test_what_is_no_value_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="don't meet the specifications of the schema"):
        render(values)


def test_an_umbrella_chart_may_have_globals_of_its_own() -> None:
    render({"global": {"storageClass": "fast"}})


def test_the_documentation_names_values_that_there_are() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    named = set(re.findall(r"\b((?:[a-z][A-Za-z]+\.)+[A-Za-z]+)=", text))
    assert {"gpu.chooseNodes", "volume.grow"} <= named
    tables = {path.rpartition(".")[0] for path in paths(VALUES)}
    assert named <= set(paths(VALUES)) | tables


@pytest.mark.parametrize("page", ["README.md", "docs/kubernetes.md"])
def test_what_is_printed_keeps_the_registry_and_the_secrets(page: str) -> None:
    """An upgrade without them would fall back to an image that no node has, and to no key."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    lines = re.findall(r"^ *helm (?:install|upgrade|template) .*", text, re.MULTILINE)
    assert lines
    assert all("--values site.yaml" in line for line in lines), lines


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
def test_each_shape_renders(file) -> None:
    assert render({}, file).one("Deployment")


def test_the_planned_shape_is_what_the_planner_writes() -> None:
    gpus = [find(name) for name in ("L40S", "H100", "A100-80GB")]
    command = "gguf-deploy plan acme/moe-8x3b-gguf --format helm"
    expected = helm.text(moe_on_l40s(), gpus, command=command)
    assert (CHART / "ci" / "plan-values.yaml").read_text() == expected
