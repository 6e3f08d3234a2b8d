"""A control plane, the real client beside it, and the plan of a model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gguf_deploy.modal_plan import document
from gguf_server.models.placement import Placement
from tests.deploy.placements import moe_on_l40s
from tests.modal.client import Client
from tests.modal.plane.plane import Plane

IMAGE = "registry.example.com/team/gguf-server:1.2.3"

MakeClient = Callable[..., Client]


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
    def make(placement: Placement | None = None, **variables: str) -> Client:
        plan = tmp_path / "plan.json"
        plan.write_text(document(placement or moe_on_l40s()))
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        given = {"GGUF_IMAGE": IMAGE, "MODAL_PLAN": str(plan), **variables}
        return Client(plane.url, home, given)

    return make
