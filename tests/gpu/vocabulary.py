"""A real tokenizer under a model that has learned nothing: prompts are cut as they would be.

A larger vocabulary gets more tokens, each a word of its own. No text becomes one of them, but the
model may say them, and samplers have the true number to go through.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from tests.gguf_files import header

_PREFIX = "tokenizer."
_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_NORMAL = 1  # LLAMA_TOKEN_TYPE_NORMAL
_SPACE = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # a space, as byte-level vocabularies spell it

Keys = Mapping[str, Any]


def read(path: Path) -> dict[str, Any]:
    """All that a GGUF file says about its tokenizer."""
    fields = gguf.GGUFReader(path).fields
    return {name: each.contents() for name, each in fields.items() if name.startswith(_PREFIX)}


def extended(keys: Keys, num_tokens: int) -> dict[str, Any]:
    tokens: list[str] = keys[_TOKENS]
    missing = num_tokens - len(tokens)
    if missing < 0:
        message = f"a vocabulary of {num_tokens} tokens is less than the tokenizer's {len(tokens)}"
        raise ValueError(message)
    more = [f"{_SPACE}word{number}" for number in range(missing)]
    return {
        **keys,
        _TOKENS: [*tokens, *more],
        _TYPES: [*keys[_TYPES], *[_NORMAL] * missing],
    }


def save(keys: Keys, path: Path) -> Path:
    """A file with a tokenizer and no weights: a hundredth of a model to carry."""
    start, _ = header({"general.architecture": "llama", **keys}, [])
    path.write_bytes(start)
    return path
