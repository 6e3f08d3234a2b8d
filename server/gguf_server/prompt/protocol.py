"""What the renderer and its worker process say to each other, and the worker's limits."""

from typing import Any

from msgspec import Struct

MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_PROMPT_CHARACTERS = 8 * 1024 * 1024
# What a template is given besides the variables of a request.
RESERVED_VARIABLES = frozenset(
    {
        *("messages", "tools", "documents", "add_generation_prompt"),
        *("bos_token", "eos_token", "strftime_now", "raise_exception"),
    }
)


class WorkerReady(Struct, frozen=True, tag=True):
    """The worker has imported what it needs; from here on its time counts."""


class Render(Struct, frozen=True, tag=True):
    """Answered by ``Rendered`` or ``Refused``. ``tools`` are as OpenAI describes functions."""

    template: str
    messages: list[dict[str, Any]]
    bos_token: str
    eos_token: str
    tools: list[dict[str, Any]] = []
    variables: dict[str, Any] = {}


class Rendered(Struct, frozen=True, tag=True):
    prompt: str


class Refused(Struct, frozen=True, tag=True):
    """The template cannot be used, or does not want these messages."""

    message: str


FromWorker = WorkerReady | Rendered | Refused
