"""What the renderer and its worker process say to each other, and the worker's limits."""

from typing import Any

from msgspec import Struct

MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_PROMPT_CHARACTERS = 8 * 1024 * 1024


class WorkerReady(Struct, frozen=True, tag=True):
    """The worker has imported what it needs; from here on its time counts."""


class Render(Struct, frozen=True, tag=True):
    """Answered by ``Rendered`` or ``Refused``."""

    template: str
    messages: list[dict[str, Any]]
    bos_token: str
    eos_token: str


class Rendered(Struct, frozen=True, tag=True):
    prompt: str


class Refused(Struct, frozen=True, tag=True):
    """The template cannot be used, or does not want these messages."""

    message: str


FromWorker = WorkerReady | Rendered | Refused
