"""Plans for vLLM: an estimate, and said to be one."""

from dataclasses import replace

import pytest

from gguf_deploy.hardware import GPUS
from gguf_deploy.planning.vllm import best, trials
from gguf_server.knobs import Knobs
from tests.deploy.planning.vllm_plans import SMALL, ask, planned


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
