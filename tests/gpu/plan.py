"""What the planner says about a model on this card, before anything is loaded."""

from pathlib import Path

from gguf_server.models.placement import Placement, loads
from tests.gpu.card import Card
from tests.gpu.child import ChildFailed, ask
from tests.gpu.models import Load


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
