"""Tools for models whose template knows none: described and written as Hermes does.

The words are those that the Hermes models were trained on; others follow them well enough, and a
grammar holds them to the notation.
"""

import json
from collections.abc import Sequence
from typing import Any

from gguf_server.prompt.hermes import CLOSING, OPENING

Message = dict[str, Any]

_SYSTEM_ROLES = ("system", "developer")
_INSTRUCTIONS = """\
You are a function calling AI model. You are provided with function signatures within \
<tools></tools> XML tags. You may call one or more functions to assist with the user query. \
Don't make assumptions about what values to plug into functions. Here are the available tools: \
<tools>
{tools}
</tools>
For each function call return a json object with function name and arguments within \
<tool_call></tool_call> XML tags as follows:
<tool_call>
{{"name": <function-name>, "arguments": <args-dict>}}
</tool_call>"""


def taught(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, system_role: bool
) -> list[Message]:
    """The conversation in words alone. Without ``system_role`` instructions go to the user."""
    written = _written(messages)
    if tools:
        lines = "\n".join(_as_json(tool) for tool in tools)
        _instruct(written, _INSTRUCTIONS.format(tools=lines), system_role=system_role)
    return written


def _written(messages: Sequence[Message]) -> list[Message]:
    """Calls and results become contents. Results in a row are one message, as calls were."""
    written: list[Message] = []
    answering = False
    for message in messages:
        if message.get("role") != "tool":
            written.append(_with_calls_written(message))
        elif answering:
            written[-1]["content"] += "\n" + _result(message)
        else:
            written.append({"role": "user", "content": _result(message)})
        answering = message.get("role") == "tool"
    return written


def _with_calls_written(message: Message) -> Message:
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    if calls := message.get("tool_calls"):
        contents = [message.get("content"), *map(_call, calls)]
        kept["content"] = "\n".join(filter(None, contents))
    return kept


def _call(call: dict[str, Any]) -> str:
    function = call.get("function", {})
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else _as_json(arguments)
    name = _as_json(function.get("name"))
    return f'{OPENING}\n{{"name": {name}, "arguments": {text}}}\n{CLOSING}'


def _result(message: Message) -> str:
    return f"<tool_response>\n{message.get('content') or ''}\n</tool_response>"


def _instruct(messages: list[Message], words: str, *, system_role: bool) -> None:
    if not system_role:
        at = next((i for i, m in enumerate(messages) if m.get("role") == "user"), None)
    else:
        at = 0 if messages and messages[0].get("role") in _SYSTEM_ROLES else None
    if at is None:
        messages.insert(0, {"role": "system" if system_role else "user", "content": words})
        return
    old = messages[at].get("content") or ""
    both = f"{old}\n\n{words}" if system_role else f"{words}\n\n{old}"
    messages[at] = {**messages[at], "content": both}


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
