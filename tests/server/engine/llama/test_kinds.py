"""The kind of a model's memory, from what its header says."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from gguf_server.engine.llama.binding import Model
from gguf_server.engine.llama.kinds import classify
from gguf_server.engine.memory import Memory


@dataclass
class Header:
    """Stands in for the weights of an architecture "new"."""

    numbers: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        return self.numbers.get(name, 0)

    def metadata(self, key: str) -> str:
        return "new" if key == "general.architecture" else self.texts.get(key, "")


WINDOW = {"new.attention.sliding_window": "64"}


@pytest.mark.parametrize(
    ("numbers", "texts", "kind", "memory"),
    [
        ({}, {}, "attention", Memory()),
        ({"n_swa": 64}, WINDOW, "window", Memory(window_tokens=64)),
        ({"is_recurrent": 1}, {}, "recurrent", Memory(exact=True)),
        ({"is_hybrid": 1}, {}, "hybrid", Memory(exact=True)),
    ],
)
def test_a_tested_kind_is_reused(
    numbers: dict[str, int], texts: dict[str, str], kind: str, memory: Memory
) -> None:
    found = classify(cast("Model", Header(numbers, texts)))
    assert (found.name, found.memory, found.no_reuse) == (kind, memory, "")


@pytest.mark.parametrize(
    ("numbers", "texts", "why"),
    [
        ({"is_diffusion": 1}, {}, "diffusion"),
        ({"n_swa": 8192}, {}, "chunks"),
        ({"is_hybrid": 1, "n_swa": 64}, WINDOW, "both"),
        ({}, {"new.attention.indexer.top_k": "2048"}, "index"),
    ],
)
def test_any_other_kind_is_not_and_says_why(
    numbers: dict[str, int], texts: dict[str, str], why: str
) -> None:
    found = classify(cast("Model", Header(numbers, texts)))
    assert (found.name, found.memory) == ("unknown", None)
    assert why in found.no_reuse
