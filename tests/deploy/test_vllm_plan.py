"""Plans for vLLM: an estimate, and said to be one."""

from dataclasses import replace

import pytest
import yaml

from gguf_deploy.ask import Ask
from gguf_deploy.hardware import GPUS
from gguf_deploy.offers import catalogue_offers
from gguf_deploy.startup import parse_storage, startup
from gguf_deploy.vllm_plan import VllmPlan, best, compose_override, helm_values, trials, vllm_plan
from gguf_server.knobs import Knobs
from gguf_server.models.safetensors import Safetensors

COMMIT = "1e10" + "7" * 36
SMALL = Safetensors(f"acme/m@{COMMIT}", "acme/m", COMMIT, 16_000_000_000, 4, "Llama", 131_072)


def ask(*names: str, knobs: Knobs | None = None, **options: object) -> Ask:
    offers = catalogue_offers(GPUS, names, 8)
    return Ask(offers, knobs or Knobs(context_tokens=0), 64 << 30, **options)  # type: ignore[arg-type]


def planned(model: Safetensors = SMALL, asked: Ask | None = None) -> VllmPlan:
    asked = asked or ask()
    chosen = best(trials(model, asked), asked.prefer)
    assert chosen is not None
    budget = startup(model.size_bytes, parse_storage("pd"), on_gpu=True, num_gpus=1)
    return vllm_plan(model, chosen, asked, budget)


def test_the_smallest_gpu_that_has_room_for_more_than_the_weights_is_chosen() -> None:
    plan = planned()
    assert plan.gpu.count == 1
    assert plan.needed_bytes == -(-int(16e9 * 1.2 + (600 << 20)) * 10 // 9)
    assert plan.gpu.memory_bytes >= plan.needed_bytes
    smaller = [gpu for gpu in GPUS if gpu.memory_bytes < plan.gpu.memory_bytes]
    assert smaller
    assert all(gpu.memory_bytes < plan.needed_bytes for gpu in smaller)


def test_several_gpus_share_the_weights() -> None:
    large = replace(SMALL, size_bytes=140_000_000_000)
    assert planned(large, ask("A100-80GB")).gpu.count == 4
    assert best(trials(replace(large, size_bytes=10**12), ask("L4")), "smallest") is None


def test_a_gpu_without_bfloat16_and_a_cpu_are_no_offers() -> None:
    assert trials(SMALL, ask("T4", "cpu")) == []


def test_speed_takes_the_widest_memory_and_cost_the_cheapest() -> None:
    fast = planned(asked=ask("L40S", "H100", prefer="speed"))
    cheap = planned(asked=ask("L40S", "H100", prefer="cost"))
    assert (fast.gpu.name, fast.gpu.count) == ("H100", 8)
    assert (cheap.gpu.name, cheap.gpu.count) == ("L40S", 1)


@pytest.mark.parametrize(
    ("asked", "own", "arguments"),
    [
        (0, 131_072, ("--max-model-len=4096", "--max-num-seqs=8")),
        (0, 2048, ("--max-model-len=2048", "--max-num-seqs=8")),
        (0, 0, ("--max-num-seqs=8",)),
        (16_384, 0, ("--max-model-len=16384", "--max-num-seqs=8")),
    ],
)
def test_context_and_slots_become_its_arguments(asked: int, own: int, arguments) -> None:
    knobs = Knobs(context_tokens=asked, slots=8)
    assert planned(replace(SMALL, context_tokens=own), ask(knobs=knobs)).arguments == arguments


def test_values_for_helm_choose_the_engine_and_pin_the_commit() -> None:
    text = helm_values(
        planned(asked=ask("L40S")), [gpu for gpu in GPUS if gpu.gke], "gguf-deploy plan"
    )
    values = yaml.safe_load(text)
    assert values["engine"] == "vllm"
    assert values["model"] == {"name": "acme/m", "revision": COMMIT, "sizeBytes": 16_000_000_000}
    assert values["server"] == {"extraArgs": ["--max-model-len=4096", "--max-num-seqs=8"]}
    assert (values["gpu"]["count"], values["gpu"]["name"]) == (1, "L40S")
    assert "nvidia-l4" in values["gpu"]["nodeLabels"]["gke"]
    assert "volume" not in values, "the chart follows model.sizeBytes"
    assert "an estimate, not measured" in text


def test_an_override_for_compose_is_of_the_service_vllm() -> None:
    large = replace(SMALL, size_bytes=140_000_000_000)
    text = compose_override(planned(large, ask("A100-80GB")), "gguf-deploy plan")
    service = yaml.safe_load(text.replace("!override", ""))["services"]["vllm"]
    assert service["environment"] == {
        "VLLM_MODEL": "acme/m",
        "VLLM_ARGS": f"--revision={COMMIT} --max-model-len=4096 --max-num-seqs=8"
        " --tensor-parallel-size=4",
    }
    [gpus] = service["deploy"]["resources"]["reservations"]["devices"]
    assert gpus["count"] == 4
    assert "an estimate, not measured" in text
