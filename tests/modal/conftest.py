"""A control plane, the real client beside it, and the plan of a model."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gguf_deploy.formats.modal import text
from gguf_server.models.placement import Placement
from tests.deploy.placements import moe_on_l40s
from tests.images.conftest import MODEL, Engine, docker, engine, image, model_directory
from tests.modal.client import Client
from tests.modal.plane.plane import Plane
from tests.modal.runtime import launcher

__all__ = ["docker", "engine", "image", "model_directory"]  # fixtures, shared with tests/images
IMAGE = "registry.example.com/team/gguf-server:1.2.3"

Edit = Callable[[Any], object]
MakeClient = Callable[..., Client]


def as_is(plan: Any) -> None:
    """What gguf-deploy wrote."""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """With the Secret that docs/modal.md tells to make."""
    directory = tmp_path / "plane"
    directory.mkdir()
    made = Plane(directory)
    made.secrets.named["gguf-server"] = {"GGUF_API_KEYS": "sesame"}
    with made.running():
        yield made


@pytest.fixture
def make_client(plane: Plane, tmp_path: Path) -> MakeClient:
    def make(placement: Placement | None = None, edit: Edit = as_is, **variables: str) -> Client:
        plan = json.loads(text(placement or moe_on_l40s()))
        plan["environment"]["GGUF_THREADS"] = "2"  # this machine's cores, not Modal's
        edit(plan)
        path, home = tmp_path / "plan.json", tmp_path / "home"
        path.write_text(json.dumps(plan))
        home.mkdir(exist_ok=True)
        given = {"GGUF_IMAGE": IMAGE, "MODAL_PLAN": str(path), **variables}
        return Client(plane.url, home, given)

    return make


@pytest.fixture
def volume(model_directory: Path, tmp_path: Path) -> Path:
    """With the embedded default model."""
    directory = tmp_path / "volume"
    directory.mkdir()
    shutil.copy(model_directory / MODEL, directory)
    return directory


@pytest.fixture
def use_image(plane: Plane, engine: Engine, image: str, volume: Path) -> Callable[..., Plane]:
    """Calls run in containers of the built image, with these options of docker run."""

    def use(*options: str) -> Plane:
        volumes = {"gguf-models": volume}
        plane.launch_with(launcher(engine, image, plane.directory, volumes, *options))
        return plane

    return use


@pytest.fixture
def in_image(use_image: Callable[..., Plane]) -> Plane:
    return use_image()
