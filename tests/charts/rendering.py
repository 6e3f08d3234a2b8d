"""The chart, rendered by helm: its objects, its notes, or why it was refused."""

import functools
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.charts.tools import ROOT, helm

CHART = ROOT / "charts" / "gguf-server"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = {"name": "org/repo", "revision": COMMIT}
NAME, NAMESPACE = "llm", "models"
FULLNAME = "llm-gguf-server"
NEWEST, OLDEST = "1.37", "1.29"

_DEFINED = '{{{{- define "notes" }}}}{}{{{{ end }}}}'
_AS_OBJECT = 'notes: {{ include "notes" . | toJson }}'

Json = dict[str, Any]


class Refused(Exception):
    """What helm said."""


@dataclass(frozen=True, slots=True)
class Rendered:
    objects: list[Json]

    def all(self, kind: str) -> list[Json]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Json:
        found = [each for each in self.all(kind) if not name or each["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} of {kind}"
        return found[0]

    @property
    def template(self) -> Json:
        """Of the Deployment's pods."""
        template: Json = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def pod(self) -> Json:
        spec: Json = self.template["spec"]
        return spec

    @property
    def server(self) -> Json:
        (found,) = (each for each in self.pod["containers"] if each["name"] == "server")
        return dict(found)

    @property
    def fetch(self) -> Json:
        (found,) = (each for each in self.pod["initContainers"] if each["name"] == "fetch")
        return dict(found)

    @property
    def strategy(self) -> Json:
        strategy: Json = self.one("Deployment")["spec"]["strategy"]
        return strategy


def render(
    values: Json | None = None,
    *files: Path,
    kubernetes: str = NEWEST,
    helm_version: str = "4",
    release: str = NAME,
) -> Rendered:
    """``values`` come after ``files``, and after a model that is pinned where there are no files.

    Raises ``Refused``.
    """
    given = values or {}
    if not files:
        given = given | {"model": MODEL | given.get("model", {})}
    text = _template(json.dumps(given), files, kubernetes, helm_version, release)
    return Rendered([each for each in yaml.safe_load_all(text) if each])


def notes(values: Json | None = None, helm_version: str = "4", claim: str = "") -> str:
    """``helm template`` leaves them out, and ``install`` may ask a cluster: so as an object.

    ``claim`` is the size of a claim that the cluster is said to have.
    """
    given = values or {}
    given = given | {"model": MODEL | given.get("model", {})}
    with tempfile.TemporaryDirectory() as there:
        chart = Path(there) / "gguf-server"
        shutil.copytree(CHART, chart)
        content = (CHART / "templates" / "NOTES.txt").read_text()
        (chart / "templates" / "_notes.tpl").write_text(_DEFINED.format(content))
        (chart / "templates" / "notes.yaml").write_text(_AS_OBJECT)
        if claim:
            _answer(chart / "templates" / "_volume.tpl", claim)
        command = ["template", NAME, str(chart), "--show-only", "templates/notes.yaml"]
        found = _helm([*command, "--values", "-"], json.dumps(given), helm_version)
    text: str = yaml.safe_load(found)["notes"]
    return text


def _answer(file: Path, claim: str) -> None:
    """What the cluster would: ``helm template`` has none to ask."""
    text, storage = file.read_text(), f'(dict "storage" {json.dumps(claim)})'
    answer = f'(dict "spec" (dict "resources" (dict "requests" {storage})))'
    changed = re.sub(r'lookup "v1" "PersistentVolumeClaim" .*?(?= }})', answer, text)
    assert changed != text
    file.write_text(changed)


def environment(container: Json) -> dict[str, Any]:
    """The value, or where it is from. Each name is there once."""
    pairs = [(each["name"], each.get("value", each.get("valueFrom"))) for each in container["env"]]
    found = dict(pairs)
    assert len(found) == len(pairs), "server-side apply refuses two of a name"
    return found


@functools.cache
def _template(
    values: str, files: tuple[Path, ...], kubernetes: str, helm_version: str, release: str
) -> str:
    flags = [flag for file in files for flag in ("--values", str(file))]
    command = ["template", release, str(CHART), "--kube-version", kubernetes, *flags]
    return _helm([*command, "--values", "-"], values, helm_version)


def _helm(arguments: list[str], values: str, version: str) -> str:
    """``values`` are its standard input."""
    command = [str(helm(version)), *arguments, "--namespace", NAMESPACE]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout
