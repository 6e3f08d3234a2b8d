"""Which kind of memory a model has, by its properties, and whether prefixes of it are reused.

Reuse is on for the kinds of which the tests compare reused prefixes with fresh computations.
"""

from dataclasses import dataclass

from gguf_server.engine.llama.binding import Model
from gguf_server.engine.memory import Memory
from gguf_server.wire.messages import MemoryKind


@dataclass(frozen=True, slots=True)
class Remembers:
    """``memory`` is None, and ``no_reuse`` says why, where every sequence starts from nothing."""

    kind: MemoryKind
    memory: Memory | None
    no_reuse: str = ""


def classify(weights: Model) -> Remembers:
    architecture = weights.metadata("general.architecture")
    window = weights.number("n_swa")
    if weights.number("is_diffusion"):
        return _unknown("generates by diffusion, not token by token")
    if weights.metadata(f"{architecture}.attention.indexer.top_k"):
        return _unknown("selects what it attends to by an index with a memory of its own")
    if window and (weights.number("is_recurrent") or weights.number("is_hybrid")):
        return _unknown("has both a recurrent state and a sliding window")
    if weights.number("is_recurrent"):
        return Remembers("recurrent", Memory(exact=True))
    if weights.number("is_hybrid"):
        return Remembers("hybrid", Memory(exact=True))
    if window and not weights.metadata(f"{architecture}.attention.sliding_window"):
        return _unknown("attends in chunks or windows that its header does not declare")
    if window:
        return Remembers("window", Memory(window_tokens=window))
    return Remembers("attention", Memory())


def _unknown(what: str) -> Remembers:
    return Remembers("unknown", None, f"The model {what}; reuse is not tested for that.")
