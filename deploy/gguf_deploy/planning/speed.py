"""How fast it can be at most: a token cannot be computed before its weights have been read."""

from gguf_deploy.planning.calibration import HOST_BYTES_PER_SECOND
from gguf_server.models.gguf.description import Description
from gguf_server.models.placement import Speed


def speed_bounds(
    description: Description,
    slots: int,
    bytes_per_second: float,
    offloaded_bytes: int = 0,
    *,
    only_experts: bool = False,
) -> Speed:
    """By a GPU's memory bandwidth; of what is offloaded by the host's. ``only_experts`` are, or
    whole layers.

    Layers are computed one after the other, on however many GPUs, so their number does not count.
    The cache is taken as empty, and the choice of experts as even.
    """

    def tokens_per_second(streams: int) -> float:
        read = _bytes_read(description, streams)
        experts = _experts_met(description, streams)
        share = experts if only_experts else read / max(1, description.size_bytes)
        on_host = min(read, offloaded_bytes * share)
        seconds = (read - on_host) / bytes_per_second + on_host / HOST_BYTES_PER_SECOND
        return streams / seconds if seconds else 0.0

    return Speed(
        one_stream_tokens_per_second=tokens_per_second(1),
        all_slots_tokens_per_second=tokens_per_second(slots),
    )


def _bytes_read(description: Description, streams: int) -> float:
    """Of the weights in a step: what one stream reads, and the experts that only others meet."""
    more = _experts_met(description, streams) - _experts_met(description, 1)
    return description.active_bytes + description.expert_bytes * more


def _experts_met(description: Description, streams: int) -> float:
    """The share that is read in a step: streams share what they read, but each meets its own."""
    total, used = description.num_experts, description.num_experts_used
    return 1 - (1 - used / total) ** streams if 0 < used < total else 1.0
