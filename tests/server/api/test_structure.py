"""What has a structure of its own: messages, tools, and the form that an answer must have."""

import json
from typing import Any

import pytest

from gguf_server.errors import UnsupportedParameter
from gguf_server.prompt.dialect import Tool, ToolUse
from gguf_server.wire.messages import Constraint
from tests.server.api.requests import (
    CALL,
    HI,
    TOOL,
    allowed,
    assert_refused,
    chat,
    complete,
    named,
    nested,
    refusal,
    schema,
    tool,
)


@pytest.mark.parametrize(
    ("build", "parameters", "param", "hint"),
    [
        (chat, {"messages": []}, "messages", "at least 1"),
        (chat, {"messages": "hi"}, "messages", "list"),
        (chat, {"messages": None}, "messages", "missing"),
        (chat, {"messages": [{"content": "x"}]}, "messages[0].role", "missing"),
        (chat, {"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", "'user'"),
        (chat, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "string"),
        (chat, {"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
        (chat, {"messages": [{**HI[0], "x": 1}]}, "messages[0].x", "unknown"),
        (chat, {"messages": [{"role": "assistant"}]}, "messages[0].content", "missing"),
        (chat, {"messages": [{"role": "tool", "content": ""}]}, "messages[0].tool_call_id", "miss"),
        (chat, {"messages": [{**HI[0], "tool_calls": [CALL]}]}, "messages[0].tool_calls", "only"),
        (
            chat,
            {"messages": [{**HI[0], "reasoning_content": "x"}]},
            "messages[0].reasoning_content",
            "only an assistant",
        ),
        (
            chat,
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "id": 1}]}]},
            "messages[0].tool_calls[0].id",
            "string",
        ),
        (chat, {"reasoning_effort": "extreme"}, "reasoning_effort", "'high'"),
        (chat, {"chat_template_kwargs": []}, "chat_template_kwargs", "dictionary"),
        (chat, {"grammar": ""}, "grammar", "at least 1 character"),
        (chat, {"grammar": {}}, "grammar", "string"),
        (chat, {"grammar": "x" * 300_000}, "grammar", "at most"),
        (chat, {"grammar": "x", "response_format": {"type": "json_object"}}, "grammar", "combined"),
        (chat, {"response_format": "json"}, "response_format", "dictionary"),
        (chat, {"response_format": {"type": "xml"}}, "response_format.type", "'json_schema'"),
        (chat, {"response_format": {"type": "json_schema"}}, "response_format.json_schema", "miss"),
        (
            chat,
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
            "response_format.json_schema.name",
            "pattern",
        ),
        (chat, {"response_format": schema([])}, "response_format.json_schema.schema", "dictionary"),
        (
            chat,
            {"response_format": schema({"a": "x" * 300_000})},
            "response_format.json_schema.schema",
            "262,144 bytes",
        ),
        (
            chat,
            {"response_format": schema(nested(70))},
            "response_format.json_schema.schema",
            "deeper than 64",
        ),
        (
            chat,
            {"response_format": schema({"a": 2**70})},
            "response_format.json_schema.schema",
            "64 bits",
        ),
        (
            chat,
            {"response_format": schema({"const": -(2**63) + 100})},
            "response_format.json_schema.schema",
            "64 bits",
        ),
        (
            chat,
            {"tools": [tool("a", parameters={"minimum": [-1e19], "maximum": -1e19})]},
            "tools[0].function.parameters",
            "64 bits",
        ),
        (
            chat,
            {"response_format": schema({"a": "\ud800"})},
            "response_format.json_schema.schema",
            "half a character",
        ),
        (
            chat,
            {"response_format": {"type": "text", "schema": {}}},
            "response_format.schema",
            "json_schema",
        ),
        (chat, {"tool_choice": "auto"}, "tool_choice", "needs tools"),
        (chat, {"tool_choice": "any", "tools": [TOOL]}, "tool_choice", '"required"'),
        (chat, {"tool_choice": named("other"), "tools": [TOOL]}, "tool_choice", "'other'"),
        (chat, {"tool_choice": {**named("add"), "x": 1}, "tools": [TOOL]}, "tool_choice", "chosen"),
        (chat, {"tool_choice": allowed("auto", "sub"), "tools": [TOOL]}, "tool_choice", "'sub'"),
        (chat, {"tool_choice": allowed("none", "add"), "tools": [TOOL]}, "tool_choice", "mode"),
        (chat, {"tools": [TOOL, TOOL]}, "tools", "a name of its own"),
        (chat, {"tools": [tool("a b")]}, "tools[0].function.name", "pattern"),
        (chat, {"tools": [tool("a" * 65)]}, "tools[0].function.name", "pattern"),
        (
            chat,
            {"tools": [tool("a", parameters={"type": "array"})]},
            "tools[0].function.parameters",
            "object",
        ),
        (chat, {"tools": [tool(f"f{n}") for n in range(129)]}, "tools", "at most 128"),
        (
            chat,
            {"tools": [tool(f"f{n}", parameters={"a": "x" * 9000}) for n in range(30)]},
            "tools",
            "262,144 bytes together",
        ),
        (chat, {"tools": [{"type": "function"}]}, "tools[0].function", "missing"),
        (chat, {"tools": [TOOL], "grammar": 'root ::= "a"'}, "grammar", "tools"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_field_and_what_is_allowed(
    build, parameters, param, hint
):
    assert_refused(build, parameters, param, hint)


def test_parts_of_text_become_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages[0].content == "a\nb"


def test_a_part_that_is_no_text_is_refused_by_its_type():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    error = refusal(chat, messages=[{"role": "user", "content": parts}])
    assert isinstance(error, UnsupportedParameter)
    assert error.param == "messages[0].content"
    assert "image_url" in error.message


def test_our_own_answer_may_come_back_as_a_client_dumps_it():
    dumped = json.loads(
        '{"role": "assistant", "content": "x", "refusal": null, "annotations": null,'
        ' "audio": null, "function_call": null, "tool_calls": null, "parsed": null}'
    )
    assert chat(messages=[dumped]).messages[0].as_data() == {"role": "assistant", "content": "x"}


def test_a_tool_that_is_no_function_is_refused_by_its_type():
    error = refusal(chat, tools=[{"type": "custom", "custom": {"name": "x"}}])
    assert isinstance(error, UnsupportedParameter)
    assert error.param == "tools[0]"
    assert "'custom'" in error.message


LENIENT = {"x-guidance": {"lenient": True, "coerce_one_of": True}}


@pytest.mark.parametrize(
    ("parameters", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"type": "object", **LENIENT}),
        ({"response_format": {"type": "json_object", "schema": {"a": 1}}}, {"a": 1, **LENIENT}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
         {"type": "object", **LENIENT}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True,
          "description": "d", "schema": {"z": 1, "a": {"$ref": "#/z"}}}}},
         {"z": 1, "a": {"$ref": "#/z"}, "x-guidance": {}}),
        ({"response_format": {"type": "json_object", "schema": {"x-guidance": "mine"}}}, LENIENT),
    ],
)  # fmt: skip
@pytest.mark.parametrize("build", [chat, complete])
def test_a_response_format_becomes_a_schema(build, parameters, constraint):
    found = build(**parameters).constraint
    if constraint is None:
        assert found is None
        return
    assert (found.kind, found.param) == ("json_schema", "response_format")
    assert json.loads(found.text) == constraint
    assert [*json.loads(found.text)] == [*constraint], "keys in the client's order"


@pytest.mark.parametrize("build", [chat, complete])
def test_a_grammar_goes_to_the_engine_as_it_is(build):
    assert build(grammar='root ::= "a"').constraint == Constraint("gbnf", 'root ::= "a"', "grammar")


ADD, SUB = (
    Tool(name, "", {"type": "object", "properties": {}, **LENIENT}) for name in ("add", "sub")
)


@pytest.mark.parametrize(
    ("choice", "use"),
    [
        (None, ToolUse((ADD, SUB), "auto")),
        ("auto", ToolUse((ADD, SUB), "auto")),
        ("required", ToolUse((ADD, SUB), "required")),
        (named("sub"), ToolUse((SUB,), "named", parallel=False)),
        (allowed("auto", "sub"), ToolUse((SUB,), "auto")),
        (allowed("required", "sub", "add", "sub"), ToolUse((SUB, ADD), "required")),
    ],
)
def test_a_choice_of_tools_bounds_the_calls_but_the_prompt_tells_of_all(choice, use):
    request = chat(tools=[tool("add"), tool("sub")], tool_choice=choice)
    assert request.tool_use == use
    assert [each["function"]["name"] for each in request.shown_tools] == ["add", "sub"]


def test_templates_see_tools_as_openai_describes_them():
    assert chat(tools=[tool("add", strict=True)]).shown_tools == [
        tool("add", description="", parameters={"type": "object", "properties": {}})
    ]


def test_tools_that_must_not_be_called_are_not_told_of():
    request = chat(tools=[TOOL], tool_choice="none")
    assert request.tool_use == ToolUse()
    assert request.shown_tools == []
    assert chat(tool_choice="none").tool_use == ToolUse()


def test_without_parallel_calls_there_is_one_at_most():
    assert not chat(tools=[TOOL], parallel_tool_calls=False).tool_use.parallel


def test_the_template_is_told_of_effort_and_of_what_the_request_says():
    assert chat().template_variables == {}
    assert chat(reasoning_effort="low").template_variables == {"reasoning_effort": "low"}
    assert chat(reasoning_effort="none").template_variables == {"enable_thinking": False}
    request = chat(chat_template_kwargs={"enable_thinking": True, "x": [1]})
    assert request.template_variables == {"enable_thinking": True, "x": [1]}


def test_messages_of_a_conversation_with_tools_reach_the_template_as_they_are():
    conversation: list[dict[str, Any]] = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "reasoning_content": "hm", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
    messages = chat(messages=conversation).messages
    assert [message.as_data() for message in messages] == conversation
    as_dumped = {
        **conversation[1],
        "content": None,
        "tool_calls": [
            {**CALL, "index": 0, "function": {**CALL["function"], "parsed_arguments": {}}}
        ],
    }
    assert chat(messages=[as_dumped]).messages[0].as_data() == conversation[1]
