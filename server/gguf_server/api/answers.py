"""The shapes we send: OpenAI's objects, as structs that msgspec writes in one go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gguf_server.supervisor.generation import Generation
from gguf_server.wire.messages import FinishReason


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int


class Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class Completion(Struct, frozen=True):
    """A whole answer, or one event of a streamed one."""

    id: str
    object: str
    created: int
    model: str
    choices: Sequence[Struct]
    usage: Usage | UnsetType | None = UNSET


@dataclass(frozen=True, slots=True)
class Shape:
    """How chat and text completions differ in what they send.

    ``opening`` is the choice that comes before the first text of a streamed sequence.
    """

    id_prefix: str
    object: str
    event_object: str
    choice: Callable[[int, str, FinishReason | None], Struct]
    opening: Callable[[int], Struct] | None
    delta: Callable[[int, str], Struct]
    finish: Callable[[int, FinishReason | None], Struct]


def usage(generations: Sequence[Generation]) -> Usage:
    """The prompt counts once, however many sequences continue it.

    It was computed at most once too: by the sequence that found the least of it in the cache.
    """
    num_prompt_tokens = generations[0].num_prompt_tokens
    num_completion_tokens = sum(each.num_completion_tokens for each in generations)
    return Usage(
        prompt_tokens=num_prompt_tokens,
        completion_tokens=num_completion_tokens,
        total_tokens=num_prompt_tokens + num_completion_tokens,
        prompt_tokens_details=PromptTokensDetails(
            min(each.num_cached_tokens for each in generations)
        ),
    )


encode = msgspec.json.Encoder().encode
