"""What the real client sends to Modal for the plans of several models."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from modal_proto import api_pb2

from gguf_deploy.formats.modal import text
from gguf_server.models.placement import Placement
from tests.deploy.placements import ALL, experts_on_cpu_with_two_gpus, moe_on_l40s
from tests.modal.client import APP
from tests.modal.conftest import IMAGE, MakeClient
from tests.modal.plane.plane import Plane

RUN = {
    *("download", "list_files", "cleanup_gguf", "gpu_specs", "info", "serve_demo", "chat"),
    *("test_gguf_q8", "test_small_gguf", "benchmark_llamacpp"),
}
GPU_FUNCTIONS = {"serve_api", "serve_demo", "chat", "test_gguf_q8", "benchmark_llamacpp"}
WRITERS = {"download", "cleanup_gguf"}

Deployed = tuple[Plane, Any]
MakePlacement = Callable[[], Placement]


@pytest.fixture(params=ALL)
def deployed(request, plane: Plane, make_client: MakeClient) -> Deployed:
    """A plane after ``modal deploy``, and the plan."""
    placement = request.param()
    make_client(placement).deploy()
    return plane, json.loads(text(placement))


def every(plane: Plane) -> dict[str, Any]:
    return {name: plane.functions.choices(name)[0] for name in {*RUN, "serve_api"}}


def test_each_plan_arrives_whole(deployed: Deployed) -> None:
    """One deployment a plan is enough: a client takes seconds to start."""
    plane, plan = deployed
    functions = every(plane)
    assert {name: gpus(plane, name) for name in functions} == {
        name: (plan["resources"]["gpu"] or []) if name in GPU_FUNCTIONS else []
        for name in functions
    }
    for name, function in functions.items():
        check_image(plane, function)
        check_volume(plane, function, read_only=name not in WRITERS)
        assert function.autoscaler_settings.max_containers == 1, name
        assert plane.sources.names(function.mount_ids) == ["/root/modal_app.py"]
    check_resources(functions, plan)
    check_serving(plane, functions["serve_api"], plan)
    assert plane.record.unexpected == []


def gpus(plane: Plane, name: str) -> list[str]:
    """``L4``, ``A100-80GB:2``"""
    asked = [choice.resources.gpu_config for choice in plane.functions.choices(name)]
    return [
        each.gpu_type + (f":{each.count}" if each.count > 1 else "") for each in asked if each.count
    ]


def check_image(plane: Plane, function: Any) -> None:
    """Nothing is installed into it."""
    assert plane.images.dockerfile(function.image_id) == [f"FROM {IMAGE}"]


def check_volume(plane: Plane, function: Any, *, read_only: bool) -> None:
    [mount] = function.volume_mounts
    assert mount.mount_path == "/models"
    assert mount.volume_id == plane.volumes.names["gguf-models"]
    assert mount.read_only is read_only


def check_resources(functions: dict[str, Any], plan: Any) -> None:
    for name in GPU_FUNCTIONS:
        resources = functions[name].resources
        assert resources.memory_mb == plan["resources"]["memory"]
        assert resources.milli_cpu == plan["resources"]["cpu"] * 1000
    for name in GPU_FUNCTIONS - {"serve_api"}:  # a second server would find its port taken
        assert functions[name].single_use_containers


def check_serving(plane: Plane, function: Any, plan: Any) -> None:
    web = function.webhook_config
    assert web.type == api_pb2.WEBHOOK_TYPE_WEB_SERVER
    assert web.web_server_port == 8000
    assert web.web_server_startup_timeout == plan["startup_timeout"]
    assert function.startup_timeout_secs > plan["startup_timeout"]  # ours speaks first
    assert web.requires_proxy_auth
    assert function.max_concurrent_inputs == plan["placement"]["knobs"]["slots"]
    assert "gguf-server" in secret_names(plane, function)


def secret_names(plane: Plane, function: Any) -> list[str]:
    named = plane.secrets.names
    return [named[each] for each in function.secret_ids if each in named]


def environment(plane: Plane, function: Any) -> dict[str, str]:
    values = [plane.secrets.values[each] for each in function.secret_ids]
    return {name: text for each in values for name, text in each.items()}


def test_the_server_gets_the_plans_environment_and_asks_no_hub(plane, make_client) -> None:
    make_client().deploy()
    given = environment(plane, plane.functions.choices("serve_api")[0])
    planned = json.loads(text(moe_on_l40s()))["environment"]
    assert given | planned | {"GGUF_THREADS": "2"} == given
    assert given["GGUF_OFFLINE"] == "on"
    fetching = environment(plane, plane.functions.choices("download")[0])
    assert "GGUF_OFFLINE" not in fetching
    assert fetching["MODEL_NAME"] == moe_on_l40s().model.reference


def test_settings_are_taken_from_the_environment(plane, make_client) -> None:
    plane.volumes.add("old-models")
    plane.secrets.named |= {
        "keys": {"GGUF_API_KEYS": "sesame"},
        "hub": {"HF_TOKEN": "hf_x"},
        "registry": {"REGISTRY_USERNAME": "u", "REGISTRY_PASSWORD": "p"},
    }
    make_client().deploy(
        MODELS_VOLUME="old-models",
        API_KEY_SECRET="keys",
        HF_TOKEN_SECRET="hub",
        REGISTRY_SECRET="registry",
        PROXY_AUTH="off",
        MAX_CONTAINERS="3",
    )
    functions = every(plane)
    serving = functions["serve_api"]
    assert secret_names(plane, serving) == ["keys"]
    assert secret_names(plane, functions["download"]) == ["hub"]
    assert serving.autoscaler_settings.max_containers == 3
    assert not serving.webhook_config.requires_proxy_auth
    [mount] = serving.volume_mounts
    assert mount.volume_id == plane.volumes.names["old-models"]
    assert "gguf-models" not in plane.volumes.names
    registry = plane.images.images[serving.image_id].image_registry_config
    assert plane.secrets.names[registry.secret_id] == "registry"


def test_gpus_are_tried_in_the_plans_order(plane, make_client) -> None:
    def others(plan: Any) -> None:
        plan["resources"]["gpu"] = ["A100-80GB:2", "H100:2", "H200:2"]

    make_client(experts_on_cpu_with_two_gpus(), others).deploy()
    assert gpus(plane, "serve_api") == ["A100-80GB:2", "H100:2", "H200:2"]


def test_it_can_be_deployed_again(plane, make_client) -> None:
    client = make_client()
    client.deploy()
    client.deploy(MAX_CONTAINERS="2")
    newest = plane.functions.choices("serve_api")[0]
    assert newest.autoscaler_settings.max_containers == 2
    assert plane.record.unexpected == []


def test_modal_serve_takes_it_too(plane, make_client) -> None:
    done = make_client().modal("serve", "--timeout", "0.1", APP)
    assert done.returncode == 0, done.stdout + done.stderr
    assert plane.functions.choices("serve_api")
    assert plane.record.unexpected == []


def test_the_image_alone_can_be_deployed_without_python(plane, make_client) -> None:
    """The command of docs/modal.md."""
    plane.volumes.add("gguf-models")
    done = make_client().modal(
        *("server", "deploy", "--yes", "--image", IMAGE, "--port", "8000", "--gpu", "L40S"),
        *("--volume", "gguf-models:/models", "--secret", "gguf-server"),
        *("--env-var", "MODEL_NAME=org/repo", "--startup-timeout", "1800"),
        *("--max-containers", "1", "--target-concurrency", "8"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [function] = plane.functions.choices("Server")
    assert function.http_config.port == 8000
    assert not function.http_config.unauthenticated
    assert function.startup_timeout_secs == 1800
    assert gpus(plane, "Server") == ["L40S"]
    assert plane.record.unexpected == []
