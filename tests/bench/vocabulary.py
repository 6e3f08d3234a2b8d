"""The vocabulary in a GGUF file, as far as the benchmarks must know it to ask all the same."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from gguf import GGUFReader, TokenType


@cache
def control_tokens(model: Path) -> tuple[int, ...]:
    """All that are no text, and so all that end an answer: llama.cpp counts those among them."""
    types = GGUFReader(model).fields["tokenizer.ggml.token_type"].contents()
    return tuple(token for token, kind in enumerate(types) if kind == TokenType.CONTROL)


def tokenizer(model: Path) -> dict[str, Any]:
    """The document of a ``tokenizer.json`` that cuts plain words as the model does. Models cut
    digits and marks each in their own way, which is left out."""
    fields = GGUFReader(model).fields
    if fields["tokenizer.ggml.model"].contents() != "gpt2":
        raise ValueError(f"{model}: no vocabulary of byte pairs, which is what a tokenizer is for")
    tokens = fields["tokenizer.ggml.tokens"].contents()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    pairs = {
        "type": "BPE",
        "vocab": {text: token for token, text in enumerate(tokens)},
        "merges": fields["tokenizer.ggml.merges"].contents(),
    }
    return {"version": "1.0", "model": pairs, "pre_tokenizer": byte_level, "decoder": byte_level}
