"""Calls of known tools, out of the JSON that a model wrote."""

import secrets
import string
from collections.abc import Callable
from typing import Any

import msgspec

from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.output import ToolCall

_ALPHANUMERIC = string.ascii_letters + string.digits
_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeEncodeError)
_Members = dict[str, msgspec.Raw]


def openai_id(_given: str = "") -> str:
    """As OpenAI makes them. What other models call an id may come again in the next answer."""
    return "call_" + random_id(24)


def random_id(length: int) -> str:
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


def reads_calls(use: ToolUse) -> bool:
    """Whether calls in the answer count at all."""
    return use.choice != "none" and bool(use.tools)


def call_in(
    text: str, use: ToolUse, keys: tuple[str, ...], make_id: Callable[[str], str] = openai_id
) -> ToolCall | None:
    """The call that a JSON object describes; ``keys`` are those its arguments may have.

    ``make_id`` gets the id that is in the object, or "".
    """
    members = _decoded(text, _Members)
    if members is None or "name" not in members:
        return None
    arguments = next((members[key] for key in keys if key in members), None)
    name = _decoded(members["name"], str)
    if arguments is None or name is None:
        return None
    given_id = _decoded(members["id"], str) if "id" in members else None
    return call_to(name, bytes(arguments), use, make_id(given_id or ""))


def call_to(name: str, arguments: str | bytes, use: ToolUse, call_id: str) -> ToolCall | None:
    """A call with these arguments, if there is such a tool and they are a JSON object."""
    if not any(tool.name == name for tool in use.tools) or _decoded(arguments, _Members) is None:
        return None
    compact = msgspec.json.format(arguments, indent=-1)
    return ToolCall(call_id, name, compact if isinstance(compact, str) else compact.decode())


def _decoded(text: Any, kind: type) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except _NOT_JSON:
        return None
