"""From what llama.cpp counts to what must be there: each part named, nothing hidden."""

from gguf_deploy.calibration import CUDA_CONTEXT_BYTES, PROCESS_BYTES, headroom_bytes
from gguf_server.models.measurement import DeviceUse, Measurement
from gguf_server.models.placement import Need, Part


def gpu_needs(measurement: Measurement, memory_bytes: int) -> tuple[Need, ...]:
    """Of each GPU, all of this size."""
    return tuple(
        Need(
            use.name,
            memory_bytes,
            (
                *_counted(use),
                Part("CUDA context", CUDA_CONTEXT_BYTES),
                Part("headroom", headroom_bytes(memory_bytes)),
            ),
        )
        for use in measurement.devices
        if not use.is_host
    )


def host_need(measurement: Measurement, memory_bytes: int) -> Need:
    """Of the host: what stays there, and the server itself."""
    uses = [use for use in measurement.devices if use.is_host]
    total = DeviceUse(
        "host",
        is_host=True,
        weights_bytes=sum(use.weights_bytes for use in uses),
        cache_bytes=sum(use.cache_bytes for use in uses),
        compute_bytes=sum(use.compute_bytes for use in uses),
    )
    parts = (
        *_counted(total),
        Part("outputs", measurement.output_bytes),
        Part("server", PROCESS_BYTES),
    )
    return Need(total.name, memory_bytes, parts)


def _counted(use: DeviceUse) -> tuple[Part, ...]:
    return (
        Part("weights", use.weights_bytes),
        Part("KV cache", use.cache_bytes),
        Part("compute", use.compute_bytes),
    )
