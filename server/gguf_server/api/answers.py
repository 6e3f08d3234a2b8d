"""What we send: OpenAI's objects, as structs that msgspec writes in one go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gguf_server.supervisor.generation import Delta, Generation
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
    """How the objects around the choices are called."""

    id_prefix: str
    object: str
    event_object: str


class Whole(Protocol):
    """Collects one sequence for an answer that is sent at once."""

    def push(self, delta: Delta) -> None: ...

    def finish(self, reason: FinishReason | None) -> Struct:
        """The choice."""
        ...


class Streamed(Protocol):
    """Makes events of one sequence as it comes."""

    def push(self, delta: Delta) -> bytes:
        """The events of this delta; none where all of it must be held back."""
        ...

    def finish(self, reason: FinishReason | None) -> bytes:
        """The last events."""
        ...


# Makes an event with one choice in it.
EventOf = Callable[[Struct], bytes]


class Answers(Protocol):
    """Makes the answers to one prompt, one for each of its sequences."""

    def whole(self, index: int) -> Whole: ...

    def streamed(self, index: int, event_of: EventOf) -> Streamed: ...


def usage(prompts: Sequence[Sequence[Generation]]) -> Usage:
    """Of the sequences of each prompt, which counts once, however many continue it.

    It was computed at most once too: by the sequence that found the least of it in the cache.
    """
    num_prompt_tokens = sum(sequences[0].num_prompt_tokens for sequences in prompts)
    num_completion_tokens = sum(
        each.num_completion_tokens for sequences in prompts for each in sequences
    )
    num_cached_tokens = sum(
        min(each.num_cached_tokens for each in sequences) for sequences in prompts
    )
    return Usage(
        prompt_tokens=num_prompt_tokens,
        completion_tokens=num_completion_tokens,
        total_tokens=num_prompt_tokens + num_completion_tokens,
        prompt_tokens_details=PromptTokensDetails(num_cached_tokens),
    )


encode = msgspec.json.Encoder().encode
