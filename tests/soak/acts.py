"""What a client does next: an endless, seeded sequence. Pure.

Prompts are made for a model with a small vocabulary and a context of ``CONTEXT`` tokens.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

CONTEXT = 256
MAX_BODY_BYTES = 64 << 10
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
SHARED = "the cat sat " * 12
COLORS = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "blue"]}, "size": {"enum": [1, 2, 3]}},
    "required": ["color", "size"],
    "additionalProperties": False,
}
_LEAVES = 0.25  # of those that could be read to their end

# Before its answer, or after so many events.
Leaves = Literal["never", "before", "midway"]


@dataclass(frozen=True, slots=True)
class Act:
    """One request, and what its client means to do. ``code`` is the error it asks for, if any."""

    name: str
    path: str
    content: bytes
    method: str = "POST"
    num_sequences: int = 1
    streams: bool = False
    leaves: Leaves = "never"
    leaves_after: int = 0
    code: str = ""


def acts(seed: str) -> Iterator[Act]:
    """The same for the same seed."""
    chance = random.Random(seed)
    kinds = [kind for kind, weight in _KINDS for _ in range(weight)]
    while True:
        yield chance.choice(kinds)(chance)


def _words(chance: random.Random, most: int) -> str:
    letters = "aet "
    return "".join(chance.choice(letters) for _ in range(chance.randint(1, most)))


def _generation(name: str, path: str, chance: random.Random, **body: Any) -> Act:
    """With a way to end: read, left before the answer, left in the middle of it."""
    streams = bool(body.get("stream"))
    leaves: Leaves = "never"
    if chance.random() < _LEAVES:
        leaves = chance.choice(("before", "midway")) if streams else "before"
    return Act(
        name,
        path,
        json.dumps({"seed": chance.randrange(2**31), **body}).encode(),
        num_sequences=int(body.get("n", 1)),
        streams=streams,
        leaves=leaves,
        leaves_after=chance.randint(1, 12),
    )


def _stream(chance: random.Random) -> Act:
    asked = {"prompt": _words(chance, 60), "max_tokens": chance.randint(1, 48)}
    return _generation("stream", COMPLETIONS, chance, stream=True, ignore_eos=True, **asked)


def _whole(chance: random.Random) -> Act:
    asked = {"prompt": _words(chance, 60), "max_tokens": chance.randint(1, 32)}
    return _generation("whole", COMPLETIONS, chance, **asked)


def _chat(chance: random.Random) -> Act:
    messages = [{"role": "user", "content": _words(chance, 30)} for _ in range(2)]
    asked = {"messages": messages, "max_tokens": chance.randint(1, 32)}
    return _generation("chat", CHAT, chance, stream=True, **asked)


def _shared(chance: random.Random) -> Act:
    prompt = SHARED + _words(chance, 20)
    asked = {"prompt": prompt, "max_tokens": 16, "ignore_eos": True}
    return _generation("shared prefix", COMPLETIONS, chance, stream=True, **asked)


def _several(chance: random.Random) -> Act:
    asked = {"prompt": _words(chance, 20), "n": 3, "max_tokens": 12, "stream": True}
    return _generation("three answers", COMPLETIONS, chance, ignore_eos=True, **asked)


def _long(chance: random.Random) -> Act:
    """Takes a quarter of the cells of a tight cache: others are preempted."""
    asked = {"prompt": _words(chance, 20), "max_tokens": CONTEXT, "stream": True}
    return _generation("until the context is full", COMPLETIONS, chance, ignore_eos=True, **asked)


def _structured(chance: random.Random) -> Act:
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": COLORS}}
    messages = [{"role": "user", "content": _words(chance, 10)}]
    asked = {"messages": messages, "response_format": form, "max_tokens": 64}
    return _generation("structured", CHAT, chance, stream=chance.random() < 0.5, **asked)


def _scored(chance: random.Random) -> Act:
    asked = {"prompt": _words(chance, 60), "echo": True, "logprobs": 2, "max_tokens": 2}
    return _generation("scored", COMPLETIONS, chance, **asked)


def _embedded(chance: random.Random) -> Act:
    inputs = [_words(chance, 40) for _ in range(chance.randint(1, 5))]
    return Act("embeddings", "/v1/embeddings", json.dumps({"input": inputs}).encode())


def _tokenized(chance: random.Random) -> Act:
    return Act("tokenize", "/tokenize", json.dumps({"content": _words(chance, 80)}).encode())


def _bad(chance: random.Random) -> Act:
    path, body, code = chance.choice(_BAD)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    method = "GET" if code == "method_not_allowed" else "POST"
    return Act("bad", path, content, method=method, code=code)


_KINDS = [
    (_stream, 10),
    (_whole, 5),
    (_chat, 5),
    (_shared, 5),
    (_several, 3),
    (_long, 2),
    (_structured, 3),
    (_scored, 2),
    (_embedded, 2),
    (_tokenized, 1),
    (_bad, 6),
]
_BAD: list[tuple[str, dict[str, Any] | bytes, str]] = [
    (COMPLETIONS, b'{"prompt": ', "invalid_request"),
    (COMPLETIONS, b"\xff\xfe", "invalid_request"),
    (COMPLETIONS, b"[" * 50_000, "invalid_request"),
    (COMPLETIONS, {"prompt": "the", "no_such_parameter": 1}, "invalid_request"),
    (COMPLETIONS, {"prompt": "the", "best_of": 2}, "unsupported_parameter"),
    (COMPLETIONS, {"prompt": "the", "temperature": -1}, "invalid_request"),
    (COMPLETIONS, {"prompt": "the", "model": "another"}, "model_not_found"),
    (COMPLETIONS, {"prompt": [10**6], "max_tokens": 2}, "invalid_request"),
    (COMPLETIONS, {"prompt": "a" * 2000}, "context_length_exceeded"),
    (COMPLETIONS, {"prompt": "the", "grammar": "root ::= ("}, "invalid_request"),
    (COMPLETIONS, b" " * (MAX_BODY_BYTES + 1), "request_too_large"),
    (COMPLETIONS, b"", "method_not_allowed"),
    (CHAT, {"messages": []}, "invalid_request"),
    ("/v1/nothing", {}, "not_found"),
]
