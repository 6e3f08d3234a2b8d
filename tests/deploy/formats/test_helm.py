"""Values that need no edit."""

import dataclasses

import pytest
import yaml
from msgspec.structs import replace

from gguf_deploy.formats.environment import environment
from gguf_deploy.formats.helm import host_cache_bytes, text, values
from gguf_deploy.hardware import find
from gguf_server.engine.host_memory import HostMemory, cache_bytes
from gguf_server.models.placement import Placement, dumps, loads
from gguf_server.settings.serve import Settings
from tests.deploy.placements import (
    ALL,
    COMMIT,
    MIB,
    dense_on_cpu,
    experts_on_cpu_with_two_gpus,
    moe_on_l40s,
)

COMMAND = "gguf-deploy plan acme/moe-8x3b-gguf --format helm"


def test_values_of_a_moe_on_one_gpu() -> None:
    l40s = dataclasses.replace(find("L40S"), gke=("nvidia-l40s",), karpenter=("l40s",), aks=())
    h100 = dataclasses.replace(
        l40s, gke=("nvidia-h100-80gb", "nvidia-l40s"), karpenter=("h100",), aks=("h100",)
    )
    assert values(moe_on_l40s(), [l40s, h100]) == {
        "model": {
            "name": "acme/moe-8x3b-gguf",
            "revision": COMMIT,
            "quantization": "Q8_0",
            "servedName": "acme/moe-8x3b-gguf",
            "sizeBytes": 19_560_000_000,
        },
        "server": {
            "environment": {
                "GGUF_CONTEXT": "8192",
                "GGUF_CACHE_TYPE_K": "q8_0",
                "GGUF_CACHE_TYPE_V": "q8_0",
                "GGUF_HOST_CACHE_BYTES": str(4 << 30),
            }
        },
        "gpu": {
            "count": 1,
            "name": "L40S",
            "memoryBytes": 22_855 * MIB + 4,
            "nodeLabels": {
                "aws": ["l40s", "h100"],
                "gke": ["nvidia-l40s", "nvidia-h100-80gb"],
                "aks": ["h100"],
            },
        },
        "resources": {"requests": {"cpu": "1", "memory": f"{1351 + 4096}Mi"}},
        "startupProbe": {"periodSeconds": 10, "failureThreshold": 180},
        "progressDeadlineSeconds": 1800 + 3 * 196 + 900,
        "helmTimeoutSeconds": 1800 + 3 * 196 + 900 + 300,
        "plan": dumps(moe_on_l40s()),
    }


def test_without_a_gpu_none_is_asked_for() -> None:
    assert values(dense_on_cpu())["gpu"] == {"count": 0}


def test_a_file_has_no_commit() -> None:
    found = values(dense_on_cpu())
    assert found["model"] == {
        "name": "/models/$HOME/small: one.gguf",
        "revision": "",
        "quantization": "",
        "servedName": "small: one",
        "sizeBytes": 100_000_000,
    }


def test_a_file_of_this_machine_is_meant_by_its_name_in_the_volume() -> None:
    placement = dense_on_cpu()
    found = values(replace(placement, model=replace(placement.model, reference="/home/me/m.gguf")))
    assert isinstance(found["model"], dict)
    assert found["model"]["name"] == "/models/m.gguf"
    assert loads(str(found["plan"])).model.reference == "/models/m.gguf"


def test_a_model_is_named_by_its_file_where_the_reference_names_that() -> None:
    found = values(experts_on_cpu_with_two_gpus())["model"]
    assert isinstance(found, dict)
    assert found["quantization"] == "large/Q4_K_M-00001-of-00009.gguf"


def test_the_gpu_that_needs_most_decides() -> None:
    gpu = values(experts_on_cpu_with_two_gpus())["gpu"]
    assert isinstance(gpu, dict)
    assert gpu["count"] == 2
    assert gpu["memoryBytes"] == 69_216 * MIB + 4


@pytest.mark.parametrize("placement", ALL)
def test_the_file_says_the_same(placement) -> None:
    found = yaml.safe_load(text(placement(), command=COMMAND))
    assert found == values(placement())
    assert list(found) == list(values(placement()))  # the model first


@pytest.mark.parametrize("placement", ALL)
def test_variables_are_text_and_the_chart_s_own_are_not_among_them(placement) -> None:
    found = yaml.safe_load(text(placement(), command=COMMAND))
    own = {"MODEL_NAME", "GGUF_SERVED_MODEL_NAME", "GGUF_DEVICE"}
    expected = environment(placement())
    assert own < set(expected)
    assert found["server"]["environment"] == {
        name: value for name, value in expected.items() if name not in own
    } | {"GGUF_HOST_CACHE_BYTES": str(host_cache_bytes(placement()))}


@pytest.mark.parametrize("placement", ALL)
def test_a_pod_asks_for_all_the_memory_that_it_will_take(placement) -> None:
    """The prefix cache, too: by the server's own reading of what it is told."""
    found = yaml.safe_load(text(placement(), command=COMMAND))
    cache_bytes = Settings.read({}, found["server"]["environment"]).host_cache_bytes
    asked = int(found["resources"]["requests"]["memory"].removesuffix("Mi")) * MIB
    host = placement().host
    assert 0 <= asked - host.num_bytes - cache_bytes < MIB
    assert asked <= host.there_bytes
    assert 0 < cache_bytes <= cache_bytes_of_the_server(host.there_bytes)


def cache_bytes_of_the_server(free_bytes: int) -> int:
    return cache_bytes(-1, HostMemory(free_bytes))


def test_a_small_model_keeps_no_large_cache() -> None:
    placement = dense_on_cpu()
    assert host_cache_bytes(placement) == placement.host.num_bytes


def test_each_gpu_has_a_core_that_feeds_it() -> None:
    def cores(placement: Placement) -> str:
        found = yaml.safe_load(text(placement, command=COMMAND))
        return str(found["resources"]["requests"]["cpu"])

    assert cores(experts_on_cpu_with_two_gpus()) == "2"
    assert cores(dense_on_cpu()) == "1"


@pytest.mark.parametrize("placement", ALL)
def test_the_plan_is_carried_to_the_letter(placement) -> None:
    found = yaml.safe_load(text(placement(), command=COMMAND))
    assert loads(found["plan"]) == placement()


def test_the_plan_is_a_block_that_people_can_read() -> None:
    lines = text(moe_on_l40s(), command=COMMAND).splitlines()
    assert lines[lines.index("plan: |") + 1] == "  {"


def test_what_go_would_take_for_a_number_is_quoted() -> None:
    lines = text(experts_on_cpu_with_two_gpus(), command=COMMAND).splitlines()
    assert f'  revision: "{COMMIT}"' in lines
    assert '    GGUF_CONTEXT: "32768"' in lines
    assert "    GGUF_FLASH_ATTENTION: 'on'" in lines


def test_the_heading_says_where_the_file_is_from_and_what_to_do_with_it() -> None:
    heading = text(moe_on_l40s(), command=COMMAND).split("\n\n")[0].splitlines()
    assert heading == [
        f"# Made by: {COMMAND}",
        f"# Model: acme/moe-8x3b-gguf@{COMMIT}:Q8_0 (19.6 GB; commit {COMMIT})",
        "# For 1 x L40S; llama.cpp 0.3.36 counts: CUDA0 24.0 GB of 48.3 GB, host 1.4 GB of 67.1 GB",
        "# Install: helm install NAME charts/gguf-server --values THIS_FILE --timeout 3588s",
        "# What is yours (image.repository, secrets) is in a file of its own: --values site.yaml",
    ]


def test_what_had_to_give_is_in_the_heading_too() -> None:
    found = text(experts_on_cpu_with_two_gpus(), command=COMMAND)
    assert "# the experts of 40 of 61 layers are on the CPU\n" in found


def test_a_file_without_a_commit_is_no_promise() -> None:
    assert "a file, which can change: no commit" in text(dense_on_cpu(), command=COMMAND)


def test_nobody_s_name_leaves_the_comment() -> None:
    command = "gguf-deploy plan 'x\nserver: {}\u2028gpu: {}\x85model: {}'"
    assert yaml.safe_load(text(moe_on_l40s(), command=command)) == values(moe_on_l40s())
