"""The functions a model may call, and which of them it shall call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from pydantic import FailFast, Field, PlainValidator, WithJsonSchema, model_validator

from gguf_server.api.schema.common import Name, RequestModel, Text
from gguf_server.api.schema.json_values import MAX_BYTES, JsonObject, enforceable
from gguf_server.api.validation import invalid, unsupported
from gguf_server.prompt.dialect import Tool, ToolUse

MAX_TOOLS = 128
_NO_PARAMETERS = {"type": "object", "properties": {}}


class Function(RequestModel):
    """``strict``: keywords that cannot be enforced are refused; otherwise they are ignored."""

    name: Name
    description: Text = ""
    parameters: JsonObject = _NO_PARAMETERS
    strict: bool = False

    @model_validator(mode="after")
    def _is_about_an_object(self) -> "Function":
        if self.parameters.get("type", "object") != "object":
            raise invalid('must be a JSON schema of type "object"', param="parameters")
        return self


class ToolDefinition(RequestModel):
    type: Literal["function"]
    function: Function

    @model_validator(mode="before")
    @classmethod
    def _is_a_function(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("type") == "custom":
            raise unsupported("tools of type 'custom' are not supported, only 'function'")
        return data

    @property
    def tool(self) -> Tool:
        function = self.function
        parameters = enforceable(function.parameters, strict=function.strict)
        return Tool(function.name, function.description, parameters)

    def as_data(self) -> dict[str, Any]:
        """As templates see it."""
        return self.model_dump(exclude={"function": {"strict"}})


ToolDefinitions = Annotated[list[ToolDefinition], FailFast(), Field(max_length=MAX_TOOLS)]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """``names`` are those that may be called; empty means any. ``is_named``: a call of just one."""

    mode: Literal["none", "auto", "required"]
    names: tuple[str, ...] = ()
    is_named: bool = False


def _tool_choice(value: object) -> ToolChoice:
    match value:
        case "none" | "auto" | "required":
            return ToolChoice(value)
        case {"type": "function"}:
            return ToolChoice("required", (_name_of(value),), is_named=True)
        case {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto" | "required" as mode,
                "tools": [_, *_] as tools,
                **more,
            },
            **others,
        } if not (more or others):
            return ToolChoice(mode, tuple(_name_of(tool) for tool in tools))
    raise invalid(
        'must be "none", "auto", "required", {"type": "function", "function": {"name": ...}} or '
        '{"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}'
    )


def _name_of(tool: object) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name), **more}, **others} if not (
            more or others
        ):
            return name
    raise invalid('a tool is chosen by {"type": "function", "function": {"name": ...}}')


def _document_of(required: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(required),
        "required": list(required),
        "additionalProperties": False,
    }


_NAMED = _document_of(
    {"type": {"const": "function"}, "function": _document_of({"name": {"type": "string"}})}
)
_ALLOWED = _document_of(
    {
        "type": {"const": "allowed_tools"},
        "allowed_tools": _document_of(
            {
                "mode": {"enum": ["auto", "required"]},
                "tools": {"type": "array", "items": _NAMED, "minItems": 1},
            }
        ),
    }
)
ToolChoiceField = Annotated[
    ToolChoice,
    PlainValidator(_tool_choice),
    WithJsonSchema({"anyOf": [{"enum": ["none", "auto", "required"]}, _NAMED, _ALLOWED]}),
]


def tool_use(
    definitions: Sequence[ToolDefinition], choice: ToolChoice | None, *, parallel: bool
) -> ToolUse:
    """What the model may call. Raises where the choice does not fit the tools."""
    tools = {each.function.name: each.tool for each in definitions}
    if len(tools) < len(definitions):
        raise invalid("every tool needs a name of its own", param="tools")
    if _num_bytes(tools.values()) > MAX_BYTES:
        msg = f"their parameters must not have more than {MAX_BYTES:,} bytes together"
        raise invalid(msg, param="tools")
    choice = choice or ToolChoice("auto" if tools else "none")
    if choice.mode == "none":
        return ToolUse()
    if not tools:
        raise invalid("needs tools", param="tool_choice")
    if unknown := [name for name in choice.names if name not in tools]:
        raise invalid(f"there is no tool {unknown[0][:64]!r}", param="tool_choice")
    allowed = tuple(tools[name] for name in dict.fromkeys(choice.names)) or tuple(tools.values())
    # A function that is named is called exactly once, as OpenAI's documents say.
    if choice.is_named:
        return ToolUse(allowed, "named", parallel=False)
    return ToolUse(allowed, choice.mode, parallel)


def _num_bytes(tools: Iterable[Tool]) -> int:
    return sum(len(msgspec.msgpack.encode(tool.parameters)) for tool in tools)
