"""A plan for the embedded default model, in the Volume, on a CPU."""

from msgspec.structs import replace

from gguf_server.knobs import Knobs
from gguf_server.models.placement import Placement
from tests.deploy.placements import dense_on_cpu
from tests.images.conftest import MODEL


def small(label: str = "Q4_1", context_tokens: int = 128) -> Placement:
    """Answers are short: they end with the context."""
    placement = dense_on_cpu()
    reference = f"/models/{MODEL}"
    model = replace(placement.model, reference=reference, name="smol", label=label)
    return replace(placement, model=model, knobs=Knobs(context_tokens=context_tokens, slots=2))
