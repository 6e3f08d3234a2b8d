"""Stands in for the dialects of branch tools until that is merged."""

from gguf_server.prompt.dialect import Dialect, ToolUse
from gguf_server.prompt.output import Content, OutputParser, Piece
from gguf_server.wire.messages import Constraint


class _Plain:
    name = "plain"
    show_special = False

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:
        return _PlainParser()

    def constraint(
        self, prompt: str, use: ToolUse, response: Constraint | None
    ) -> Constraint | None:
        return response


class _PlainParser:
    def push(self, text: str) -> list[Piece]:
        return [Content(text)] if text else []

    def finish(self) -> list[Piece]:
        return []


def dialect_of(template: str) -> Dialect:
    return _Plain()
