"""Needs add up, and each part has its name."""

from dataclasses import replace

from gguf_deploy.hardware import find
from gguf_deploy.planning.ask import Offer
from gguf_deploy.planning.calibration import CUDA_CONTEXT_BYTES, HEADROOM_BYTES, PROCESS_BYTES
from gguf_deploy.planning.fitting import gpu_needs, host_need
from gguf_server.models.measurement import DeviceUse, Measurement
from gguf_server.models.placement import Need, Part
from tests.deploy.planning.fakes import GIB, LARGE, SMALL, blueprint

PLAIN = blueprint(1).description
MEASUREMENT = Measurement(
    devices=(
        DeviceUse("CUDA0", is_host=False, weights_bytes=5, cache_bytes=3, compute_bytes=2),
        DeviceUse("CUDA1", is_host=False, weights_bytes=6, cache_bytes=4, compute_bytes=1),
        DeviceUse("CUDA_Host", is_host=True, weights_bytes=7, cache_bytes=0, compute_bytes=8),
        DeviceUse("CPU", is_host=True, weights_bytes=9, cache_bytes=1, compute_bytes=0),
    ),
    output_bytes=11,
    num_layers=2,
    context_tokens=4096,
    train_context_tokens=4096,
    generates=True,
    llama_cpp="b1",
)


def test_each_gpu_needs_what_is_counted_a_context_and_headroom() -> None:
    first, second = gpu_needs(MEASUREMENT, Offer(SMALL, 2), PLAIN)
    assert first == Need(
        "CUDA0",
        8 * GIB,
        (
            Part("weights", 5),
            Part("KV cache", 3),
            Part("compute", 2),
            Part("CUDA context", CUDA_CONTEXT_BYTES),
            Part("headroom", HEADROOM_BYTES),
        ),
    )
    assert second.num_bytes == 11 + CUDA_CONTEXT_BYTES + HEADROOM_BYTES
    assert first.fits


def test_what_llama_cpp_counted_is_found_again_in_what_is_needed() -> None:
    needs = gpu_needs(MEASUREMENT, Offer(SMALL, 2), PLAIN)
    assert [need.counted_bytes for need in needs] == [10, 11]
    assert host_need(MEASUREMENT, GIB).counted_bytes == 25


def test_headroom_grows_with_the_card() -> None:
    [need, _] = gpu_needs(MEASUREMENT, Offer(LARGE, 2), PLAIN)
    assert need.parts[-1] == Part("headroom", int(80 * GIB * 0.03))


def test_before_ampere_a_bf16_matrix_is_needed_as_floats_too() -> None:
    bf16 = replace(PLAIN, largest_bf16_matrix=1000)
    [old, _] = gpu_needs(MEASUREMENT, Offer(find("T4"), 2), bf16)
    assert Part("BF16 as F32", 4000) in old.parts
    [new, _] = gpu_needs(MEASUREMENT, Offer(find("A10"), 2), bf16)
    assert "BF16 as F32" not in [part.name for part in new.parts]


def test_the_host_needs_what_stays_there_and_the_server() -> None:
    need = host_need(MEASUREMENT, GIB)
    assert need.parts == (
        Part("weights", 16),
        Part("KV cache", 1),
        Part("compute", 8),
        Part("outputs", 11),
        Part("server", PROCESS_BYTES),
    )
    assert not host_need(MEASUREMENT, PROCESS_BYTES).fits
