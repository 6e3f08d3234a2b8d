"""Messages as OpenAI has them, made into what a family's template expects."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from gguf_server.prompt.families import Family
from gguf_server.prompt.mistral import is_mistral_id

Message = dict[str, Any]


def for_family(family: Family, messages: Sequence[Message]) -> list[Message]:
    """Templates iterate over arguments, so these must be objects; some want more."""
    parsed = [_with_parsed_arguments(message) for message in messages]
    match family:
        case "harmony":
            return [_with_thinking(message) for message in parsed]
        case "mistral":
            return [_with_short_ids(message) for message in parsed]
        case "hermes" | "llama3":
            return parsed


def with_empty_contents(messages: Sequence[Message]) -> list[Message]:
    """For templates that cannot take a message without content."""
    return [
        message if message.get("content") is not None else {**message, "content": ""}
        for message in messages
    ]


def _with_parsed_arguments(message: Message) -> Message:
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [_parsed(call) for call in calls]}


def _parsed(call: Message) -> Message:
    function = call.get("function", {})
    try:
        arguments = msgspec.json.decode(function.get("arguments"), type=dict[str, Any])
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _with_thinking(message: Message) -> Message:
    """What gpt-oss calls reasoning; beside a call its template takes either that or content."""
    thinking = message.get("reasoning_content")
    if not thinking or "thinking" in message:
        return message
    changed = {**message, "thinking": thinking}
    if message.get("tool_calls"):
        changed.pop("content", None)
    return changed


def _with_short_ids(message: Message) -> Message:
    """Mistral's templates refuse ids that are not nine letters or digits."""
    changed = dict(message)
    if isinstance(given := message.get("tool_call_id"), str):
        changed["tool_call_id"] = _short(given)
    if calls := message.get("tool_calls"):
        changed["tool_calls"] = [{**call, "id": _short(str(call.get("id", "")))} for call in calls]
    return changed


def _short(given: str) -> str:
    if is_mistral_id(given):
        return given
    return hashlib.sha256(given.encode(errors="replace")).hexdigest()[:9]
