"""Simulated GPUs: llama.cpp divides a model among them as it would among real ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gguf_deploy.planning.measuring import Measurer
from gguf_server.errors import MeasurementFailed
from gguf_server.knobs import Knobs
from gguf_server.models.measurement import Measurement, Question, SimulatedGpu, Topology
from tests.deploy.architectures import (
    ARCHITECTURES,
    Synthetic,
    gpt_oss,
    granite_hybrid,
    llama,
    llama_moe,
)

GPU = SimulatedGpu("L4", 24 << 30, 23 << 30)
BASE = Knobs(context_tokens=4096, slots=2)
Measure = Callable[..., Measurement]
SLOW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def measurer() -> Iterator[Measurer]:
    with Measurer() as it:
        yield it


@pytest.fixture(scope="module")
def measure(measurer: Measurer, tmp_path_factory: pytest.TempPathFactory) -> Measure:
    folder: Path = tmp_path_factory.mktemp("headers")
    paths = {name: make().write(folder / f"{name}.gguf") for name, make in ARCHITECTURES.items()}

    def it(model: str | Synthetic = "llama 8B", gpus: int | tuple[SimulatedGpu, ...] = 1, **knobs):
        path = (
            model.write(folder / "own.gguf") if isinstance(model, Synthetic) else str(paths[model])
        )
        topology = Topology((GPU,) * gpus if isinstance(gpus, int) else gpus)
        question = Question(str(path), msgspec.structs.replace(BASE, **knobs))
        measurer._answers.pop((topology, question), None)  # "own" may be another one now
        return measurer.measure(topology, question)

    return it


def on_gpus(found: Measurement) -> int:
    return sum(use.num_bytes for use in found.devices if not use.is_host)


def weights(found: Measurement, *, host: bool) -> int:
    return sum(use.weights_bytes for use in found.devices if use.is_host == host)


def test_devices_are_called_as_cuda_calls_them(measure: Measure):
    assert [(use.name, use.is_host) for use in measure(gpus=2).devices] == [
        ("CUDA0", False),
        ("CUDA1", False),
        ("CUDA_Host", True),
    ]
    assert {use.is_host for use in measure(gpus=0).devices} == {True}


# --- what grows and what moves -----------------------------------------------------------------


@SLOW
@given(
    model=st.sampled_from(["llama 8B", "gemma3 12B", "falcon-h1 7B", "deepseek2 lite"]),
    knob=st.sampled_from(["context_tokens", "slots", "max_batch_tokens"]),
    sizes=st.tuples(st.integers(1, 120), st.integers(1, 120)),
)
def test_more_of_anything_never_takes_less(
    measure: Measure, model: str, knob: str, sizes: tuple[int, int]
):
    unit = {"context_tokens": 256, "slots": 1, "max_batch_tokens": 32}[knob]
    less, more = (measure(model, **{knob: unit * size}) for size in sorted(sizes))
    assert on_gpus(less) <= on_gpus(more)
    assert less.output_bytes <= more.output_bytes


@SLOW
@given(data=st.data(), model=st.sampled_from(["llama 8B", "gpt-oss 20B", "granitehybrid 32B-A9B"]))
def test_layers_that_are_not_on_the_gpu_are_on_the_host(
    measure: Measure, data: st.DataObject, model: str
):
    whole = measure(model)
    count = data.draw(st.integers(0, whole.num_layers))
    some, more = (measure(model, n_gpu_layers=each) for each in (count, count + 1))
    assert weights(some, host=False) < weights(more, host=False)
    assert weights(some, host=True) >= weights(more, host=True)
    assert weights(measure(model, n_gpu_layers=whole.num_layers + 1), host=True) == weights(
        whole, host=True
    )
    assert sum(use.cache_bytes for use in some.devices) == pytest.approx(
        sum(use.cache_bytes for use in whole.devices), rel=0.001
    )


def test_each_layer_of_experts_on_the_cpu_moves_the_same_weights(measure: Measure):
    model = "llama MoE 8x3B 18.4B"
    on_host = [weights(measure(model, n_cpu_moe=count), host=True) for count in (0, 1, 5, 28, 80)]
    layer = 8 * 3 * 3072 * 8192 * 34 // 32
    assert [each - on_host[0] for each in on_host] == [count * layer for count in (0, 1, 5, 28, 28)]


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_the_weights_of_one_gpu_are_those_of_two(measure: Measure, model: str):
    one, two = measure(model), measure(model, gpus=2)
    assert weights(one, host=False) == weights(two, host=False)
    assert weights(one, host=True) == weights(two, host=True)
    assert sum(use.cache_bytes for use in one.devices) == sum(
        use.cache_bytes for use in two.devices
    )


def test_layers_are_divided_by_free_memory(measure: Measure):
    busy = SimulatedGpu("L4", 24 << 30, 5 << 30)
    idle, full, _ = measure(gpus=(GPU, busy)).devices
    assert 2.5 < idle.weights_bytes / full.weights_bytes < 5


def test_a_split_decides_instead_where_it_is_given(measure: Measure):
    first, second, _ = measure(gpus=2, tensor_split=(1.0, 7.0)).devices
    assert 5 < second.weights_bytes / first.weights_bytes < 9


# --- what CUDA adds ----------------------------------------------------------------------------


def test_rows_of_a_quantized_tensor_are_padded(measure: Measure):
    """The last one of each, from 2880 elements to 3072: 102 bytes of MXFP4, so 128."""
    tensors = [each for each in gpt_oss().shapes if "_exps.weight" in each[0]]
    assert {dimensions[0] for _, dimensions, _ in tensors} == {2880}
    plain, moved = measure("gpt-oss 20B"), measure("gpt-oss 20B", n_cpu_moe=80)
    on_gpu = weights(plain, host=False) - weights(moved, host=False)
    on_host = weights(moved, host=True) - weights(plain, host=True)
    assert on_gpu - on_host == len(tensors) * 128


def test_a_quantized_cache_needs_its_keys_and_values_in_f16_as_well(measure: Measure):
    plain = measure(context_tokens=32768, slots=1)
    quantized = measure(context_tokens=32768, slots=1, cache_type_k="q8_0", cache_type_v="q8_0")
    copies = 2 * 2 * 32768 * 8 * 128
    [plain_gpu, _], [quantized_gpu, _] = plain.devices, quantized.devices
    assert quantized_gpu.cache_bytes == plain_gpu.cache_bytes * 34 // 64
    assert copies < quantized_gpu.compute_bytes < copies + plain_gpu.compute_bytes


def test_what_cuda_cannot_compute_is_computed_on_the_host(measure: Measure):
    """A cache of iq4_nl: attention runs on the CPU, and the scores of all heads are there."""
    usual, other = (measure(cache_type_k=kind, cache_type_v=kind) for kind in ("q4_0", "iq4_nl"))
    assert on_gpus(other) < on_gpus(usual)
    assert other.devices[-1].compute_bytes > usual.devices[-1].compute_bytes


def test_the_sum_over_experts_keeps_what_it_adds_where_cuda_fuses_it(measure: Measure):
    """Up to 15 experts a token; so 16 of them need less."""
    few, many = (
        measure(
            replace(granite_hybrid(), keys={**granite_hybrid().keys, "expert_used_count": count})
        ).devices[0]
        for count in (15, 16)
    )
    assert few.compute_bytes > 1.3 * many.compute_bytes


# --- what is refused ---------------------------------------------------------------------------


def test_more_gpus_than_llama_cpp_can_schedule_are_refused_in_its_words(measure: Measure):
    with pytest.raises(MeasurementFailed, match="n_backends <= GGML_SCHED_MAX_BACKENDS"):
        measure(gpus=16)


def test_after_an_abort_the_next_question_is_answered(measure: Measure):
    with pytest.raises(MeasurementFailed):
        measure(gpus=17)
    assert measure(gpus=3).num_layers == llama().keys["block_count"]
    assert measure(llama_moe()).num_layers == 28
