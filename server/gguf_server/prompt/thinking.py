"""Blocks of reasoning at the start of an answer."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from gguf_server.prompt.pieces import PieceWriter
from gguf_server.prompt.scanner import Scanner

State = Literal["inside", "over", "possible"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """The marks of a block of reasoning. Only the first thing in an answer is one."""

    opening: str
    closing: str

    def state(self, prompt: str) -> State:
        """Where the answer to ``prompt`` starts: in a block, after it, or perhaps before it."""
        end = prompt.rstrip()
        if end.endswith(self.opening):
            return "inside"
        return "over" if end.endswith(self.closing) else "possible"

    def read(self, prompt: str, scanner: Scanner, out: PieceWriter) -> Generator[None]:
        if self.state(prompt) != "inside":
            spaces = yield from scanner.spaces()
            if not (yield from scanner.match(self.opening)):
                out.content(spaces)
                return
        out.notation()
        yield from scanner.until((self.closing,), out.reasoning)
        out.notation()


def thinking_of(template: str) -> Thinking | None:
    for thinking in (Thinking("<think>", "</think>"), Thinking("[THINK]", "[/THINK]")):
        if thinking.closing in template:
            return thinking
    return None
