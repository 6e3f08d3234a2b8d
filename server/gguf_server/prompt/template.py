"""A chat template applied to messages: the conventions of Hugging Face, in Jinja's sandbox.

Pure. The sandbox keeps a template from reaching Python; it does not keep it from running forever
or filling the memory, which is why ``renderer.py`` does this in a process of its own.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec.structs import replace

from gguf_server.errors import ChatTemplateError
from gguf_server.prompt.conversation import for_family, with_empty_contents
from gguf_server.prompt.families import family_of
from gguf_server.prompt.lesson import taught
from gguf_server.prompt.protocol import MAX_PROMPT_CHARACTERS, Render

_MAX_REASON_CHARACTERS = 300
_PROBE = "You are the system that is asked whether it is heard."


def render(question: Render, *, now: datetime) -> str:
    """The prompt, up to and including the start of the assistant's answer."""
    question = _prepared(question)
    try:
        return _rendered(question, now)
    except ChatTemplateError:
        if all(message.get("content") is not None for message in question.messages):
            raise
    return _rendered(replace(question, messages=with_empty_contents(question.messages)), now)


def _prepared(question: Render) -> Render:
    with _one_line_errors():
        if family := family_of(question.template):
            return replace(question, messages=for_family(family, question.messages))
        return _taught(question)


def _taught(question: Render) -> Render:
    system_role = not question.tools or _says_system(question.template)
    messages = taught(question.messages, question.tools, system_role=system_role)
    return replace(question, messages=messages, tools=[])


@lru_cache(maxsize=4)
def _says_system(template: str) -> bool:
    """Some templates refuse a system message, others leave it out."""
    messages = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "Hello"}]
    try:
        return _PROBE in _rendered(Render(template, messages, "", ""), datetime.now().astimezone())
    except ChatTemplateError:
        return False


def _rendered(question: Render, now: datetime) -> str:
    with _one_line_errors():
        return _joined(
            _compiled(question.template).generate(
                question.variables,
                messages=question.messages,
                bos_token=question.bos_token,
                eos_token=question.eos_token,
                add_generation_prompt=True,
                tools=question.tools or None,
                documents=None,
                strftime_now=now.strftime,
            )
        )


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ChatTemplateError:
        raise
    except Exception as exc:  # a template is a program: it can fail in every way
        raise ChatTemplateError(_reason(exc)) from exc


def _joined(pieces: Iterator[str]) -> str:
    kept = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_PROMPT_CHARACTERS:
            msg = f"the chat template wrote more than {MAX_PROMPT_CHARACTERS:,} characters"
            raise ChatTemplateError(msg)
        kept.append(piece)
    return "".join(kept)


def _reason(exc: Exception) -> str:
    match exc:
        case TemplateSyntaxError():
            what = f"is not valid Jinja (line {exc.lineno}): {exc.message}"
        case TemplateError():
            what = f"refused these messages: {exc.message}"
        case MemoryError():
            what = "needs too much memory"
        case RecursionError():
            what = "calls itself too deeply"
        case _:
            what = f"failed: {type(exc).__name__}: {exc}"
    return " ".join(f"the chat template {what}".split())[:_MAX_REASON_CHARACTERS]


@lru_cache(maxsize=4)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, loopcontrols],
        finalize=_finalized,
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _finalized(value: object) -> object:
    """A message without content must not say "None"."""
    return "" if value is None else value


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 -- Jinja's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 -- templates may pass it by position
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Unlike Jinja's own: readable text for a model, nothing escaped for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
