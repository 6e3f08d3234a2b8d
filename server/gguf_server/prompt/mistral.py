"""Mistral, the older ``[TOOL_CALLS][{"name": ..., "arguments": {...}, "id": ...}]`` and the newer
``[TOOL_CALLS]name[ARGS]{...}``, for a while with ``[CALL_ID]id`` before ``[ARGS]``.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gguf_server.prompt.calls import call_in, call_to, random_id, reads_calls
from gguf_server.prompt.constraint import CallForms, constrained
from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.grammar import Grammar, quoted
from gguf_server.prompt.output import OutputParser
from gguf_server.prompt.pieces import PieceWriter
from gguf_server.prompt.reading import ReaderParser
from gguf_server.prompt.scanner import Scanner
from gguf_server.prompt.thinking import Thinking
from gguf_server.wire.messages import Constraint

MARK, ARGUMENTS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
Style = Literal["list", "arguments", "call_id"]

_ID_LENGTH = 9
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_WORD = re.compile(r"\w*")
_ID_RULE = "/[a-zA-Z0-9]{9}/"


def is_mistral_id(text: str) -> bool:
    """The templates take no other ids."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Mistral:
    """Implements ``Dialect``. All styles are read; ``style`` is what the template writes."""

    thinking: Thinking | None
    special_tokens: Mapping[str, int]
    style: Style

    @property
    def name(self) -> str:
        return "mistral"

    @property
    def show_special(self) -> bool:
        return True

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:
        return ReaderParser(partial(self._read, prompt, use))

    def constraint(
        self, prompt: str, use: ToolUse, response: Constraint | None
    ) -> Constraint | None:
        grammar = Grammar(self.special_tokens)
        forms = _list_forms if self.style == "list" else partial(_named_forms, self.style)
        return constrained(grammar, self.thinking, prompt, use, response, forms)

    def _read(
        self, prompt: str, use: ToolUse, scanner: Scanner, out: PieceWriter
    ) -> Generator[None]:
        if self.thinking:
            yield from self.thinking.read(prompt, scanner, out)
        if reads_calls(use):
            while (yield from scanner.until((MARK,), out.content)):
                spaces = yield from scanner.spaces()
                bracket = yield from scanner.match("[")
                read = _read_list if bracket else _read_named
                is_call = yield from read(MARK + spaces + bracket, use, scanner, out)
                if is_call and not use.parallel:
                    break
        yield from scanner.rest(out.content)


def _read_list(
    before: str, use: ToolUse, scanner: Scanner, out: PieceWriter
) -> Generator[None, None, bool]:
    """Each element that is a call counts; from the first one that is none the rest is content."""
    found = False
    while True:
        before += yield from scanner.spaces()
        body, is_whole = yield from scanner.json_object()
        call = call_in(body, use, ("arguments",), _make_id) if is_whole else None
        if call is None:
            out.content(before + body)
            return found
        out.call(call)
        found = True
        yield from scanner.spaces()
        before = yield from scanner.match(",", "]")
        if before != "," or not use.parallel:
            out.content(before.removesuffix("]"))
            return True


def _read_named(
    before: str, use: ToolUse, scanner: Scanner, out: PieceWriter
) -> Generator[None, None, bool]:
    heads = [tool.name + mark for tool in use.tools for mark in (ARGUMENTS, CALL_ID)]
    head = yield from scanner.match(*heads)
    name, given_id = head.partition("[")[0], ""
    if head.endswith(CALL_ID):
        given_id = yield from scanner.run(_WORD)
        head += given_id + (yield from scanner.match(ARGUMENTS))
    body, is_whole = "", False
    if head.endswith(ARGUMENTS):
        head += yield from scanner.spaces()
        body, is_whole = yield from scanner.json_object()
    call = call_to(name, body, use, _make_id(given_id)) if is_whole else None
    if call is None:
        out.content(before + head + body)
        return False
    out.call(call)
    return True


def _make_id(given: str) -> str:
    return given if is_mistral_id(given) else random_id(_ID_LENGTH)


def _list_forms(grammar: Grammar, use: ToolUse) -> CallForms:
    calls = []
    for index, tool in enumerate(use.tools):
        head = quoted(f'{{"name": "{tool.name}", "arguments": ')
        tail = rf'(", \"id\": \"" {_ID_RULE} "\"")? "}}"'
        calls.append(
            grammar.rule(f"call_{index}", f"{head} {grammar.arguments(tool, index)} {tail}")
        )
    call = grammar.rule("call", " | ".join(calls))
    more = f'(", " {call})*' if use.parallel else ""
    listed = f'SPACE? "[" {call} {more} "]"'
    return _after_mark(grammar, listed)


def _named_forms(style: Style, grammar: Grammar, use: ToolUse) -> CallForms:
    identity = f"{grammar.mark(CALL_ID)} {_ID_RULE}" if style == "call_id" else ""
    calls = []
    for index, tool in enumerate(use.tools):
        arguments = grammar.arguments(tool, index)
        body = f"{quoted(tool.name)} {identity} {grammar.mark(ARGUMENTS)} {arguments}"
        calls.append(grammar.rule(f"call_{index}", body))
    call = grammar.rule("call", " | ".join(calls))
    more = f"({grammar.mark(MARK)} {call})*" if use.parallel else ""
    return _after_mark(grammar, f"{call} {more}")


def _after_mark(grammar: Grammar, calls: str) -> CallForms:
    forced = f"{grammar.mark(MARK)} {calls}"
    return CallForms(forced, f"{grammar.until('head', MARK)} {calls}", forced)
