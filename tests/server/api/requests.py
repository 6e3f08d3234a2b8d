"""Requests as tests write them, and what they are refused with."""

from typing import Any

import pytest
from pydantic import ValidationError

from gguf_server.api.schema.chat import ChatRequest
from gguf_server.api.schema.completions import CompletionRequest
from gguf_server.api.validation import explain
from gguf_server.errors import InvalidRequest, RequestError

HI = [{"role": "user", "content": "hi"}]
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "add", "arguments": '{"a": 1}'},
}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [named(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


TOOL = tool("add")


def chat(**parameters) -> ChatRequest:
    return ChatRequest.model_validate({"messages": HI, **parameters})


def complete(**parameters) -> CompletionRequest:
    return CompletionRequest.model_validate({"prompt": "hi", **parameters})


def refusal(build, **parameters) -> RequestError:
    with pytest.raises(ValidationError) as caught:
        build(**parameters)
    return explain(caught.value.errors())


def assert_refused(build, parameters, param, hint) -> None:
    """One line that names the field and what is allowed."""
    error = refusal(build, **parameters)
    assert isinstance(error, InvalidRequest)
    assert error.param == param
    assert param in error.message
    assert hint in error.message
    assert "\n" not in error.message
    assert len(error.message) < 300
