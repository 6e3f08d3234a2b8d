"""What the Modal adapter reads."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gguf_deploy.formats.modal import text
from gguf_deploy.hardware import Gpu, find
from gguf_server.errors import SettingsError
from gguf_server.models.placement import PlacedGpu, Placement
from gguf_server.settings.serve import Settings
from tests.deploy.placements import (
    ALL,
    COMMIT,
    MIB,
    dense_on_cpu,
    experts_on_cpu_with_two_gpus,
    moe_on_l40s,
)


def on(modal_name: str, count: int) -> Placement:
    name = modal_name or "RTX-4090"
    gpu = PlacedGpu(name=name, count=count, memory_bytes=24 << 30, modal_name=modal_name)
    return replace(moe_on_l40s(), gpu=gpu)


def read(placement: Placement, *others: Gpu) -> Any:
    return json.loads(text(placement, others))


def spelled(placement: Placement, *others: Gpu) -> object:
    return read(placement, *others)["resources"]["gpu"]


@pytest.mark.parametrize("placement", ALL)
def test_it_carries_the_whole_placement(placement) -> None:
    plan = json.loads(text(placement()))
    assert msgspec.convert(plan["placement"], Placement) == placement()
    assert plan["version"] == 1


@pytest.mark.parametrize("placement", ALL)
def test_the_server_can_be_started_with_its_environment(placement) -> None:
    plan = json.loads(text(placement()))
    settings = Settings.read({}, plan["environment"])
    assert settings.context == placement().knobs.context_tokens
    assert settings.model == placement().model.reference


def test_a_gpu_is_spelled_as_modal_spells_it() -> None:
    assert spelled(moe_on_l40s()) == ["L40S"]
    assert spelled(experts_on_cpu_with_two_gpus()) == ["A100-80GB:2"]
    assert spelled(dense_on_cpu()) is None


def test_others_that_would_do_come_after_the_chosen_one_in_the_same_number() -> None:
    assert spelled(moe_on_l40s(), find("L40S"), find("H100")) == ["L40S", "H100"]
    others = (find("A100-80GB"), find("H200"))
    assert spelled(experts_on_cpu_with_two_gpus(), *others) == ["A100-80GB:2", "H200:2"]


def test_but_not_those_of_which_a_container_gets_fewer() -> None:
    assert spelled(on("L4", 8), find("A10"), find("L40S")) == ["L4:8", "L40S:8"]


def test_a_cpu_takes_no_gpus_along() -> None:
    assert spelled(dense_on_cpu(), find("L4")) is None


def test_it_takes_as_many_requests_at_once_as_there_are_slots() -> None:
    plan = json.loads(text(experts_on_cpu_with_two_gpus()))
    assert plan["max_inputs"] == 4


def test_both_clocks_and_the_memory_are_in_it() -> None:
    plan = json.loads(text(moe_on_l40s()))
    assert plan["startup_timeout"] == moe_on_l40s().startup.modal_startup_timeout_seconds
    memory = plan["resources"]["memory"]
    assert memory * MIB >= moe_on_l40s().host.num_bytes > (memory - 1) * MIB


@pytest.mark.parametrize(
    ("placement", "cores"),
    [(moe_on_l40s, 4), (dense_on_cpu, 8), (experts_on_cpu_with_two_gpus, 16)],
)
def test_cores_are_asked_for_and_no_more_threads_are_started(placement, cores: int) -> None:
    plan = read(placement())
    assert plan["resources"]["cpu"] == cores
    assert plan["environment"]["GGUF_THREADS"] == str(cores)


def test_layers_left_to_the_cpu_want_cores_too() -> None:
    placement = moe_on_l40s()
    knobs = replace(placement.knobs, n_gpu_layers=20)
    assert read(replace(placement, knobs=knobs))["resources"]["cpu"] == 16


def test_the_model_may_be_named_as_people_name_it() -> None:
    names = read(moe_on_l40s())["model_names"]
    assert names[0] == moe_on_l40s().model.reference
    repository = "acme/moe-8x3b-gguf"
    assert {repository, f"{repository}:Q8_0", f"{repository}@{COMMIT}"} <= set(names)
    assert read(dense_on_cpu())["model_names"] == [dense_on_cpu().model.reference]


def test_a_file_of_this_machine_is_meant_by_its_name_in_the_volume() -> None:
    placement = dense_on_cpu()
    model = replace(placement.model, reference="/home/me/m.gguf")
    plan = read(replace(placement, model=model))
    assert plan["model_names"] == ["/models/m.gguf", "/home/me/m.gguf"], "MODEL_NAME may be either"
    assert plan["environment"]["MODEL_NAME"] == "/models/m.gguf"
    assert plan["placement"]["model"]["reference"] == "/models/m.gguf"


def test_a_gpu_that_modal_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="Modal has no RTX-4090; plan for another with --gpu"):
        text(on("", 1))


@pytest.mark.parametrize(("name", "most"), [("A10", 4), ("L4", 8)])
def test_so_are_more_of_them_than_modal_gives_to_a_container(name: str, most: int) -> None:
    assert spelled(on(name, most)) == [f"{name}:{most}"]
    with pytest.raises(SettingsError, match=f"at most {most} {name} to a container"):
        text(on(name, most + 1))
