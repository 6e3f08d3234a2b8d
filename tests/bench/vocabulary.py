"""The vocabulary in a GGUF file, as far as the benchmarks must know it to ask all the same."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gguf import GGUFReader, TokenType


@cache
def control_tokens(model: Path) -> tuple[int, ...]:
    """All that are no text, and so all that end an answer: llama.cpp counts those among them."""
    types = GGUFReader(model).fields["tokenizer.ggml.token_type"].contents()
    return tuple(token for token, kind in enumerate(types) if kind == TokenType.CONTROL)
