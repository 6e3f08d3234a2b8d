"""gpt-oss: messages with a header that says what each is for (OpenAI's Harmony format).

``<|start|>assistant<|channel|>CHANNEL to=RECIPIENT<|message|>TEXT<|end|>``, the first one without
its start, which the prompt ends with. The recipient may also stand before the channel.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial

from gguf_server.prompt.calls import call_to, openai_id, reads_calls
from gguf_server.prompt.constraint import check, param, refuse_grammar_beside_reasoning
from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.grammar import Grammar, quoted
from gguf_server.prompt.output import OutputParser
from gguf_server.prompt.pieces import PieceWriter
from gguf_server.prompt.reading import ReaderParser
from gguf_server.prompt.scanner import Scanner
from gguf_server.wire.messages import Constraint

START, CHANNEL, MESSAGE = "<|start|>assistant", "<|channel|>", "<|message|>"
END, CALL, RETURN, CONSTRAIN = "<|end|>", "<|call|>", "<|return|>", "<|constrain|>"
_ENDS = (END, CALL, RETURN)
_NAMESPACE = "functions."
_MAX_HEADER = 400
_HEADER = re.compile(
    r"(?:<\|start\|>assistant)?(?: to=(?P<early>\S+?))?\s*<\|channel\|>(?P<channel>\w+)"
    r"(?: to=(?P<late>\S+?))?\s*(?:<\|constrain\|>)?\w*<\|message\|>"
)


@dataclass(frozen=True, slots=True)
class Harmony:
    """Implements ``Dialect``. An answer ends with its first call, so there are never several."""

    special_tokens: Mapping[str, int]

    @property
    def name(self) -> str:
        return "harmony"

    @property
    def show_special(self) -> bool:
        return True

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:  # noqa: ARG002 -- the protocol's
        return ReaderParser(partial(_read, use), verbatim=True)

    def constraint(
        self,
        prompt: str,  # noqa: ARG002 -- the protocol's
        use: ToolUse,
        response: Constraint | None,
    ) -> Constraint | None:
        check(use, response)
        grammar = Grammar(self.special_tokens)
        if reads_calls(use):
            call = _call_form(grammar, use)
            content = _content_form(grammar, response)
            body = f"{call} | {content}" if use.choice == "auto" else call
        elif response is not None:
            refuse_grammar_beside_reasoning(response)
            body = _content_form(grammar, response)
        else:
            return None
        before = _before(grammar, preamble=response is None)
        return grammar.constraint(f"{before}* ({body})", param(use, response))


def _read(use: ToolUse, scanner: Scanner, out: PieceWriter) -> Generator[None]:
    mark = yield from scanner.match(" to=")
    while True:
        if not mark:
            mark = yield from scanner.until((START, CHANNEL), out.content)
        if not mark:
            return
        header = yield from _read_header(mark, scanner)
        tool = _called(header) if reads_calls(use) else None
        if tool is None:
            mark = yield from _read_text(header, scanner, out)
            continue
        is_call = yield from _read_call(header, tool, use, scanner, out)
        if is_call and not use.parallel:
            yield from scanner.rest(out.content)
            return
        mark = ""


def _read_header(mark: str, scanner: Scanner) -> Generator[None, None, str]:
    kept = [mark]
    end = yield from scanner.until((MESSAGE, *_ENDS), kept.append)
    return "".join(kept) + end


def _parsed(header: str) -> re.Match[str] | None:
    return _HEADER.fullmatch(header) if len(header) <= _MAX_HEADER else None


def _called(header: str) -> str | None:
    """The name of the function that a message is meant for."""
    found = _parsed(header)
    recipient = found and (found["early"] or found["late"])
    if not recipient or not recipient.startswith(_NAMESPACE):
        return None
    return recipient.removeprefix(_NAMESPACE)


def _read_text(header: str, scanner: Scanner, out: PieceWriter) -> Generator[None, None, str]:
    """A message that is no call. A start without an end before it is returned."""
    found = _parsed(header)
    if found is None:
        out.content(header)
        return ""
    if found["early"] or found["late"]:  # meant for somebody whom we do not know
        out.content(header)
        return ""
    write = out.reasoning if found["channel"] == "analysis" else out.content
    mark = yield from scanner.until((*_ENDS, START), write)
    return mark if mark == START else ""


def _read_call(
    header: str, tool: str, use: ToolUse, scanner: Scanner, out: PieceWriter
) -> Generator[None, None, bool]:
    before = yield from scanner.spaces()
    body, is_whole = yield from scanner.json_object()
    after = (yield from scanner.spaces()) if is_whole else ""
    end = (yield from scanner.match(*_ENDS)) if is_whole else ""
    if is_whole and (end or any(map(scanner.cut_off, _ENDS))):
        call = call_to(tool, body, use, openai_id())
        if call:
            out.call(call)
            return True
    out.content(header + before + body + after + end)
    return False


def _before(grammar: Grammar, *, preamble: bool) -> str:
    """Messages before the one that counts: reasoning, and words that announce a call."""
    channel = '("analysis" | "commentary")' if preamble else '"analysis"'
    head = f"{grammar.mark(CHANNEL)} {channel} {grammar.mark(MESSAGE)}"
    start = f'{grammar.mark("<|start|>")} "assistant"'
    return grammar.rule("before", f"{head} {grammar.until('text', END)} {start}")


def _call_form(grammar: Grammar, use: ToolUse) -> str:
    kind = f'{grammar.mark(CONSTRAIN)}? "json" {grammar.mark(MESSAGE)}'
    calls = []
    for index, tool in enumerate(use.tools):
        recipient = quoted(f"commentary to={_NAMESPACE}{tool.name} ")
        arguments = grammar.arguments(tool, index)
        body = f"{grammar.mark(CHANNEL)} {recipient} {kind} {arguments}"
        calls.append(grammar.rule(f"call_{index}", body))
    return grammar.rule("call", " | ".join(calls))


def _content_form(grammar: Grammar, response: Constraint | None) -> str:
    return f'{grammar.mark(CHANNEL)} "final" {grammar.mark(MESSAGE)} {grammar.content(response)}'
