"""An override that Compose takes as it is."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from gguf_deploy.formats.compose import text
from gguf_server.models.placement import Placement, loads
from tests.deploy.placements import (
    ALL,
    COMMIT,
    dense_on_cpu,
    experts_on_cpu_with_two_gpus,
    moe_on_l40s,
)

COMMAND = "gguf-deploy plan acme/moe-8x3b-gguf --format compose"


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # has no types
    """Knows Compose's tag."""


Loader.add_constructor("!override", Loader.construct_sequence)


def services(placement: Placement) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.load(text(placement, command=COMMAND), Loader)[
        "services"
    ]
    return found


def test_services_of_a_moe_on_one_gpu() -> None:
    model = f"acme/moe-8x3b-gguf@{COMMIT}:Q8_0"
    found = services(moe_on_l40s())
    assert found["server"]["environment"].pop("GGUF_PLAN")
    assert found == {
        "fetch": {"environment": {"MODEL_NAME": model}},
        "server": {
            "environment": {
                "MODEL_NAME": model,
                "GGUF_SERVED_MODEL_NAME": "acme/moe-8x3b-gguf",
                "GGUF_DEVICE": "gpu",
                "GGUF_CONTEXT": "8192",
                "GGUF_CACHE_TYPE_K": "q8_0",
                "GGUF_CACHE_TYPE_V": "q8_0",
            },
            "healthcheck": {"start_period": "1800s"},
            "deploy": {
                "resources": {
                    "reservations": {
                        "devices": [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
                    }
                }
            },
        },
    }


def test_the_reservation_takes_the_place_of_the_one_below() -> None:
    found = text(experts_on_cpu_with_two_gpus(), command=COMMAND)
    assert "          devices: !override\n" in found
    assert "            count: 2\n" in found


def test_without_a_gpu_none_is_reserved() -> None:
    assert "deploy" not in services(dense_on_cpu())["server"]
    assert "-f compose.yaml -f compose.cpu.yaml -f THIS_FILE" in text(
        dense_on_cpu(), command=COMMAND
    )


def test_a_dollar_is_a_dollar() -> None:
    found = services(dense_on_cpu())
    assert found["fetch"]["environment"] == {"MODEL_NAME": "/models/$$HOME/small: one.gguf"}


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
def test_the_plan_itself_goes_along(make: Callable[[], Placement]) -> None:
    placement = make()
    plan = services(placement)["server"]["environment"]["GGUF_PLAN"]
    assert loads(plan.replace("$$", "$")) == placement
    assert "  GGUF_PLAN: |\n" in text(placement, command=COMMAND), "for people to read"


def test_a_file_of_this_machine_is_meant_by_its_name_in_the_volume() -> None:
    placement = dense_on_cpu()
    here = replace(placement, model=replace(placement.model, reference="/home/me/m.gguf"))
    found = services(here)
    assert found["fetch"]["environment"]["MODEL_NAME"] == "/models/m.gguf"
    assert found["server"]["environment"]["MODEL_NAME"] == "/models/m.gguf"
    assert loads(found["server"]["environment"]["GGUF_PLAN"]).model.reference == "/models/m.gguf"


def test_the_heading_says_where_the_file_is_from_and_what_to_do_with_it() -> None:
    heading = text(moe_on_l40s(), command=COMMAND).split("\n\n")[0].splitlines()
    assert heading[0] == f"# Made by: {COMMAND}"
    assert heading[-2:] == [
        "# Start: docker compose -f compose.yaml -f THIS_FILE up",
        "# It needs Docker Compose 2.24.4 or newer.",
    ]


def test_nobody_s_name_leaves_the_comment() -> None:
    model = replace(moe_on_l40s().model, reference="/models/a\nservices: {}.gguf")
    found = services(replace(moe_on_l40s(), model=model))
    assert found["fetch"]["environment"] == {"MODEL_NAME": "/models/a\nservices: {}.gguf"}
