"""What the planner says about a model on this card, before anything is loaded."""

import os
from pathlib import Path

from gguf_server.models.placement import Placement, loads
from gguf_server.wire.messages import EngineConfig
from tests.gpu.card import Card
from tests.gpu.child import ChildFailed, ask
from tests.gpu.models import Load


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


async def plan(model: Path, card: Card, load: Load) -> Placement:
    """Raises ``ChildFailed`` for a card that the planner does not know."""
    if not card.planned:
        raise ChildFailed(f"gguf-deploy knows no {card.name}; add it to hardware.py")
    asked = {
        "gpu": card.planned,
        "context": load.num_context_tokens,
        "parallel": load.num_slots,
        "max-gpus": 1,
        "storage": "nvme",
    }
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    answer = await ask("gguf_deploy", "plan", str(model), *words, "--json")
    return loads(answer.decode())
