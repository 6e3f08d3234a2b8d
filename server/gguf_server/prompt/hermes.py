r"""Hermes and Qwen: ``<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>``."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial

from gguf_server.prompt.calls import call_in, reads_calls
from gguf_server.prompt.constraint import CallForms, constrained
from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.grammar import Grammar, quoted
from gguf_server.prompt.output import OutputParser
from gguf_server.prompt.pieces import PieceWriter
from gguf_server.prompt.reading import ReaderParser
from gguf_server.prompt.scanner import Scanner
from gguf_server.prompt.thinking import Thinking
from gguf_server.wire.messages import Constraint

OPENING, CLOSING = "<tool_call>", "</tool_call>"
_END = quoted("}\n")


@dataclass(frozen=True, slots=True)
class Hermes:
    """Implements ``Dialect``."""

    thinking: Thinking | None
    special_tokens: Mapping[str, int]

    @property
    def name(self) -> str:
        return "hermes"

    @property
    def show_special(self) -> bool:
        thinking = (self.thinking.opening, self.thinking.closing) if self.thinking else ()
        return any(mark in self.special_tokens for mark in (OPENING, CLOSING, *thinking))

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:
        return ReaderParser(partial(self._read, prompt, use))

    def constraint(
        self, prompt: str, use: ToolUse, response: Constraint | None
    ) -> Constraint | None:
        grammar = Grammar(self.special_tokens)
        return constrained(grammar, self.thinking, prompt, use, response, _call_forms)

    def _read(
        self, prompt: str, use: ToolUse, scanner: Scanner, out: PieceWriter
    ) -> Generator[None]:
        if self.thinking:
            yield from self.thinking.read(prompt, scanner, out)
        if reads_calls(use):
            while (yield from scanner.until((OPENING,), out.content)):
                is_call = yield from _read_call(use, scanner, out)
                if is_call and not use.parallel:
                    break
        yield from scanner.rest(out.content)


def _read_call(use: ToolUse, scanner: Scanner, out: PieceWriter) -> Generator[None, None, bool]:
    before = yield from scanner.spaces()
    body, is_whole = yield from scanner.json_object()
    after = (yield from scanner.spaces()) if is_whole else ""
    closing = (yield from scanner.match(CLOSING)) if is_whole else ""
    if is_whole and (closing or scanner.cut_off(CLOSING)):
        call = call_in(body, use, ("arguments",))
        if call:
            out.call(call)
            return True
    out.content(OPENING + before + body + after + closing)
    return False


def _call_forms(grammar: Grammar, use: ToolUse) -> CallForms:
    opening, closing = grammar.mark(OPENING), grammar.mark(CLOSING)
    bodies = []
    for index, tool in enumerate(use.tools):
        head = quoted(f'\n{{"name": "{tool.name}", "arguments": ')
        body = f"{head} {grammar.arguments(tool, index)} {_END} {closing}"
        bodies.append(grammar.rule(f"call_{index}", body))
    call = grammar.rule("call", " | ".join(bodies))
    more = f'("\\n" {opening} {call})*' if use.parallel else ""
    forced = f"{opening} {call} {more}"
    return CallForms(forced, f"{grammar.until('head', OPENING)} {call} {more}", forced)
