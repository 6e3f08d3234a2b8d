"""Modal's container runtime inside the built image, as a machine of Modal's would start it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from gguf_server.settings.environment import cache_dir
from tests.images.conftest import Engine
from tests.modal.plane.containers import ARGUMENTS, COMMAND, Launch, Recipe
from tests.modal.plane.plane import SOCKET

_IMAGES_PYTHON = "3.11"
# Modal mounts its packages into a container, and runs everything there as root.
_PACKAGES, _SOURCE, _USER = "/modal-packages", "/root", "0:0"


def packages() -> Path:
    """Modal's client and what it needs, of the versions here, for the image's Python."""
    wanted = sorted(set(_closure("modal")))
    place = cache_dir() / f"modal-{version('modal')}-python{_IMAGES_PYTHON}"
    if not place.exists():
        fresh = place.with_name(f"{place.name}.new")
        options = ("--no-deps", "--only-binary", ":all:", "--python-version", _IMAGES_PYTHON)
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *options)
        subprocess.run([*pip, "--target", str(fresh), *wanted], check=True)
        fresh.rename(place)
    return place


def launcher(
    engine: Engine, image: str, plane: Path, volumes: Mapping[str, Path], *options: str
) -> Launch:
    """``volumes`` are directories here, by the names of the Volumes."""
    client = packages()

    def launch(recipe: Recipe) -> "subprocess.Popen[str]":
        mounts = {
            str(client): f"{_PACKAGES}:ro",
            str(recipe.directory / "root" / "root"): f"{_SOURCE}:ro",
            str(recipe.directory / ARGUMENTS): f"/run/{ARGUMENTS}:ro",
            str(plane / SOCKET): f"/run/{SOCKET}",
        }
        for path, mounted in recipe.volumes.items():
            mounts[str(volumes[mounted.name])] = f"{path}:ro" if mounted.read_only else path
        environment = {
            **recipe.environment,
            "PYTHONPATH": f"{_PACKAGES}:{_SOURCE}",
            "MODAL_SERVER_URL": f"unix:///run/{SOCKET}",
            "MODAL_CONTAINER_ARGUMENTS_PATH": f"/run/{ARGUMENTS}",
        }
        return subprocess.Popen(
            [
                *(engine.docker, "run", *engine.labels, "--user", _USER),
                *("--workdir", _SOURCE, *options),
                *(word for pair in mounts.items() for word in ("--volume", ":".join(pair))),
                *(word for name in environment for word in ("--env", name)),
                *(image, *COMMAND),
            ],
            env=environment | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return launch


def _closure(name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """``name`` and all that it requires, as ``name==version``."""
    yield f"{name}=={version(name)}"
    for line in requires(name) or ():
        requirement = Requirement(line)
        is_meant = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_meant and requirement.name not in seen:
            yield from _closure(requirement.name, seen | {name})
