"""What the Modal adapter reads."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from gguf_deploy.modal_plan import document
from gguf_server.errors import SettingsError
from gguf_server.models.placement import PlacedGpu, Placement
from gguf_server.settings.serve import Settings
from tests.deploy.placements import (
    ALL,
    MIB,
    dense_on_cpu,
    experts_on_cpu_with_two_gpus,
    moe_on_l40s,
)


def on(modal_name: str, count: int) -> Placement:
    name = modal_name or "RTX-4090"
    gpu = PlacedGpu(name=name, count=count, memory_bytes=24 << 30, modal_name=modal_name)
    return replace(moe_on_l40s(), gpu=gpu)


def spelled(placement: Placement) -> object:
    return json.loads(document(placement))["gpu"]


@pytest.mark.parametrize("placement", ALL)
def test_it_carries_the_whole_placement(placement) -> None:
    plan = json.loads(document(placement()))
    assert msgspec.convert(plan["placement"], Placement) == placement()
    assert plan["version"] == 1


@pytest.mark.parametrize("placement", ALL)
def test_the_server_can_be_started_with_its_environment(placement) -> None:
    plan = json.loads(document(placement()))
    settings = Settings.read({}, plan["environment"])
    assert settings.context == placement().knobs.context_tokens
    assert settings.model == placement().model.reference


def test_a_gpu_is_spelled_as_modal_spells_it() -> None:
    assert spelled(moe_on_l40s()) == "L40S"
    assert spelled(experts_on_cpu_with_two_gpus()) == "A100-80GB:2"
    assert spelled(dense_on_cpu()) is None


def test_it_takes_as_many_requests_at_once_as_there_are_slots() -> None:
    plan = json.loads(document(experts_on_cpu_with_two_gpus()))
    assert plan["max_inputs"] == 4


def test_both_clocks_and_the_memory_are_in_it() -> None:
    plan = json.loads(document(moe_on_l40s()))
    assert plan["startup_timeout"] == moe_on_l40s().startup.modal_startup_timeout_seconds
    assert plan["memory"] * MIB >= moe_on_l40s().host.num_bytes > (plan["memory"] - 1) * MIB


def test_a_gpu_that_modal_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="Modal has no RTX-4090; plan for another with --gpu"):
        document(on("", 1))


@pytest.mark.parametrize(("name", "most"), [("A10", 4), ("L4", 8)])
def test_so_are_more_of_them_than_modal_gives_to_a_container(name: str, most: int) -> None:
    assert spelled(on(name, most)) == f"{name}:{most}"
    with pytest.raises(SettingsError, match=f"at most {most} {name} to a container"):
        document(on(name, most + 1))
