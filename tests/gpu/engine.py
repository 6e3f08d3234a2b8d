"""What a server, and the workers that do without one, are asked: the same in all of them."""

import os
from pathlib import Path

import msgspec

from gguf_server.wire.messages import EngineConfig
from tests.gpu.card import Card
from tests.gpu.models import Load


class LimitQuestion(msgspec.Struct, frozen=True):
    """To `tests.gpu.limit`."""

    config: EngineConfig
    streams: tuple[int, ...]
    num_prompt_tokens: int
    num_output_tokens: int


def options(load: Load) -> dict[str, object]:
    """Of the server; the planner is asked for the same."""
    return {"slots": load.num_slots, "context": load.num_context_tokens}


def engine_config(model: Path, card: Card, load: Load) -> EngineConfig:
    """As the server of these options gives it to its engine."""
    num_threads = len(os.sched_getaffinity(0))
    return EngineConfig(
        model_path=str(model),
        device=card.device,
        slots=load.num_slots,
        context_tokens=load.num_context_tokens,
        threads=num_threads,
        threads_batch=num_threads,
    )
