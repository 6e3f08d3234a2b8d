"""How fast it can be at most: a token cannot be computed before its weights have been read."""

from gguf_deploy.calibration import HOST_BYTES_PER_SECOND
from gguf_server.models.gguf.description import Description
from gguf_server.models.placement import Speed


def speed_bounds(
    description: Description, slots: int, bytes_per_second: float, offloaded_bytes: int = 0
) -> Speed:
    """By a GPU's memory bandwidth; of ``offloaded_bytes`` of the weights by the host's.

    Layers are computed one after the other, on however many GPUs, so their number does not count.
    The cache is taken as empty, and the choice of experts as even.
    """
    share = min(1.0, offloaded_bytes / description.size_bytes) if description.size_bytes else 0.0
    seconds_per_byte = (1 - share) / bytes_per_second + share / HOST_BYTES_PER_SECOND
    one = description.active_bytes * seconds_per_byte
    every = _bytes_of_a_step(description, slots) * seconds_per_byte
    return Speed(
        one_stream_tokens_per_second=1 / one if one else 0.0,
        all_slots_tokens_per_second=slots / every if every else 0.0,
    )


def _bytes_of_a_step(description: Description, slots: int) -> float:
    """Streams share what they read, but of a mixture each meets experts of its own."""
    total, used = description.num_experts, description.num_experts_used
    if not 0 < used < total:
        return float(description.active_bytes)
    shared = description.active_bytes - description.expert_bytes * used / total
    return shared + description.expert_bytes * (1 - (1 - used / total) ** slots)
