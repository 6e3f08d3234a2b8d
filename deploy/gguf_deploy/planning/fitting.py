"""From what llama.cpp counts to what must be there: each part named, nothing hidden."""

from gguf_deploy.planning.ask import Offer
from gguf_deploy.planning.calibration import (
    AMPERE,
    CUDA_CONTEXT_BYTES,
    FLOAT_BYTES,
    PROCESS_BYTES,
    headroom_bytes,
)
from gguf_server.models.gguf.description import Description
from gguf_server.models.measurement import DeviceUse, Measurement
from gguf_server.models.placement import Need, Part, counted


def gpu_needs(measurement: Measurement, offer: Offer, description: Description) -> tuple[Need, ...]:
    """Of each GPU of the offer."""
    copies = _copies(offer, description)
    return tuple(
        Need(
            use.name,
            offer.memory_bytes,
            (
                *counted(use),
                *copies,
                Part("CUDA context", CUDA_CONTEXT_BYTES),
                Part("headroom", headroom_bytes(offer.memory_bytes)),
            ),
        )
        for use in measurement.devices
        if not use.is_host
    )


def _copies(offer: Offer, description: Description) -> tuple[Part, ...]:
    """Before Ampere CUDA has no products of BF16 for whole batches: ggml makes a matrix F32 first,
    in a pool that keeps its size (ggml_cuda_op_mul_mat_cublas).
    """
    num_bytes = FLOAT_BYTES * description.largest_bf16_matrix
    is_old = offer.gpu is not None and offer.gpu.compute_capability < AMPERE
    return (Part("BF16 as F32", num_bytes),) if is_old and num_bytes else ()


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
        *counted(total),
        Part("outputs", measurement.output_bytes),
        Part("server", PROCESS_BYTES),
    )
    return Need(total.name, memory_bytes, parts)
