"""``modal run ...::download``, from a hub of ours, into what stands for the Volume."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gguf_server.models.placement import Placement
from tests.hub.content import File
from tests.hub.server import Hub
from tests.images.conftest import BUILD_SECONDS, HANG_SECONDS, MODEL, Engine, require_engine
from tests.modal.client import Client
from tests.modal.conftest import MakeClient
from tests.modal.plane.plane import Plane
from tests.modal.small import small

require_engine()

pytestmark = [pytest.mark.docker, pytest.mark.timeout(BUILD_SECONDS + HANG_SECONDS)]


@pytest.fixture
def hub(engine: Engine, model_directory: Path) -> Iterator[Hub]:
    """Where containers reach it, with a model for those who may."""
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    address = engine.output("network", "inspect", "bridge", "--format", gateway)
    with Hub(addresses=(address, address)) as there:
        files = {"smol-Q4_1.gguf": File(model_directory / MODEL)}
        there.repository("org/smol", files, is_gated=True, readers=("hf_good",))
        yield there


@pytest.fixture
def client(hub: Hub, in_image: Plane, make_client: MakeClient) -> Client:
    in_image.secrets.named["hub"] = {"HF_TOKEN": "hf_good"}

    def from_hub(plan: Any) -> None:
        plan["environment"]["HF_ENDPOINT"] = hub.endpoint

    return make_client(on_hub(hub), from_hub, HF_TOKEN_SECRET="hub")


def on_hub(hub: Hub) -> Placement:
    placement, commit = small(), commit_of(hub)
    reference = f"org/smol@{commit}:Q4_1"
    model = replace(placement.model, reference=reference, name="org/smol", commit=commit)
    return replace(placement, model=model)


def commit_of(hub: Hub) -> str:
    commit = hub.repositories["org/smol"].resolve("main")
    assert commit
    return commit


def test_the_planned_commit_is_fetched_and_committed(client, hub, in_image, volume) -> None:
    (volume / MODEL).unlink()
    done = client.run("download")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (volume / "org" / "smol" / commit_of(hub) / "manifest.json").exists()
    assert hub.bytes_sent() > 90_000_000
    assert in_image.volumes.committed == [in_image.volumes.names["gguf-models"]]
    assert in_image.record.unexpected == []


def test_what_the_old_system_left_in_the_volume_is_not_fetched_again(client, hub, volume) -> None:
    done = client.run("download")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (volume / "org" / "smol" / commit_of(hub) / "smol-Q4_1.gguf").exists()
    assert hub.bytes_sent() == 0


def test_without_a_token_a_gated_model_is_refused(client, volume) -> None:
    (volume / MODEL).unlink()
    done = client.run("download", HF_TOKEN_SECRET="")
    assert done.returncode == 1
    assert "org/smol is gated" in done.stdout + done.stderr
