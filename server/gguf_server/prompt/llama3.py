"""Llama 3.x: ``{"name": ..., "parameters": {...}}``, perhaps after ``<|python_tag|>``.

Without the tag a call can only be the first thing in an answer: JSON within a text is content.
Several calls are separated by ``;``.
"""

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

TAG = "<|python_tag|>"
_ENDS = ("<|eom_id|>", "<|eot_id|>")
_FIRST_KEYS = ('"name"', '"type"')
_HEAD_PATTERN = r'/\s{0,8}\{\s{0,8}"name"\s{0,8}:\s{0,8}"/'


@dataclass(frozen=True, slots=True)
class Llama3:
    """Implements ``Dialect``. ``one_call``: the template refuses several calls in a turn."""

    thinking: Thinking | None
    special_tokens: Mapping[str, int]
    one_call: bool

    @property
    def name(self) -> str:
        return "llama3"

    @property
    def show_special(self) -> bool:
        return True

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:
        return ReaderParser(partial(self._read, prompt, use))

    def constraint(
        self, prompt: str, use: ToolUse, response: Constraint | None
    ) -> Constraint | None:
        grammar = Grammar(self.special_tokens)
        return constrained(grammar, self.thinking, prompt, use, response, self._call_forms)

    def _read(
        self, prompt: str, use: ToolUse, scanner: Scanner, out: PieceWriter
    ) -> Generator[None]:
        if self.thinking:
            yield from self.thinking.read(prompt, scanner, out)
        if reads_calls(use):
            is_call = yield from _read_calls("", use, scanner, out)
            while use.parallel or not is_call:
                if not (yield from scanner.until((TAG,), out.content)):
                    break
                is_call = yield from _read_calls(TAG, use, scanner, out)
        yield from scanner.rest(out.content)

    def _call_forms(self, grammar: Grammar, use: ToolUse) -> CallForms:
        tails = []
        for index, tool in enumerate(use.tools):
            middle = quoted(f'{tool.name}", "parameters": ')
            body = f'{middle} {grammar.arguments(tool, index)} "}}"'
            tails.append(grammar.rule(f"tail_{index}", body))
        tail = grammar.rule("tail", " | ".join(tails))
        call = grammar.rule("call", quoted('{"name": "') + f" {tail}")
        more = f'("; " {call})*' if use.parallel and not self.one_call else ""
        head = grammar.rule("head", _HEAD_PATTERN, lazy=True)
        tagged = f"{grammar.until('tagged', TAG)} SPACE? {call}"
        return CallForms(
            forced=f"{call} {more}",
            free=f"({head} {tail} | {tagged}) {more}",
            beside_json=f"{grammar.mark(TAG)} {call} {more}",
        )


def _read_calls(
    before: str, use: ToolUse, scanner: Scanner, out: PieceWriter
) -> Generator[None, None, bool]:
    """One call and those after a ``;``. ``before`` is notation only if a call follows."""
    found = False
    while True:
        spaces = yield from scanner.spaces()
        body, is_whole = yield from _read_object(scanner)
        call = call_in(body, use, ("parameters", "arguments")) if is_whole else None
        if call is None:
            out.content(before + spaces + body)
            return found
        out.call(call)
        found = True
        yield from scanner.spaces()
        yield from scanner.match(*_ENDS)
        if not use.parallel:
            return True
        before = yield from scanner.match(";")
        if not before:
            return True


def _read_object(scanner: Scanner) -> Generator[None, None, tuple[str, bool]]:
    """An object that starts as calls do, so that other JSON need not wait for its end."""
    seen = yield from scanner.match("{")
    if seen:
        seen += yield from scanner.spaces()
        key = yield from scanner.match(*_FIRST_KEYS)
        if key:
            return (yield from scanner.json_object(seen + key))
    return seen, False
