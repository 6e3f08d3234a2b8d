"""What a model's raw output consists of, once its family's notation is read."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that the model wrote for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call. ``arguments`` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


Piece = Content | Reasoning | ToolCall


class OutputParser(Protocol):
    """Reads one answer as it comes. Text that may still become notation is held back.

    However the text is cut, the pieces are the same once neighbours of a kind are joined. What
    does not turn out to be a well-formed call to a known tool comes back as content.
    """

    def push(self, text: str) -> list[Piece]:
        """What became certain with ``text``."""
        ...

    def finish(self) -> list[Piece]:
        """What is left when no more text comes."""
        ...
