"""Every parameter is used, known to have no effect, or refused by name; nothing else happens."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gguf_server.api.schema.chat import ChatRequest
from gguf_server.api.schema.completions import CompletionRequest
from gguf_server.api.validation import explain
from gguf_server.errors import InvalidRequest, RequestError, UnsupportedParameter
from gguf_server.prompt.dialect import Tool, ToolUse
from gguf_server.wire.messages import Constraint, SamplingParams

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


def test_absent_sampling_parameters_are_those_of_llama_cpp():
    sampling = chat().sampling(0)
    assert (sampling.temperature, sampling.top_k) == (0.8, 40)
    assert (sampling.top_p, sampling.min_p) == (0.95, 0.05)
    assert sampling.seed is None
    assert chat().token_limit is None


def test_every_sampling_parameter_reaches_the_engine():
    request = chat(
        temperature=0, top_k=7, top_p=0.5, min_p=0.1, typical_p=0.9, seed=0, repeat_penalty=1.1,
        repeat_last_n=-1, presence_penalty=-2, frequency_penalty=2, logit_bias={"5": -100},
        ignore_eos=True,
    )  # fmt: skip
    assert request.sampling(2) == SamplingParams(
        temperature=0, top_k=7, top_p=0.5, min_p=0.1, typical_p=0.9, seed=2, repeat_penalty=1.1,
        repeat_last_n=-1, presence_penalty=-2, frequency_penalty=2, logit_bias={5: -100},
        ignore_eos=True,
    )  # fmt: skip


def test_null_means_absent():
    assert chat(temperature=None, stop=None, n=None, stream=None, tools=None) == chat()


@pytest.mark.parametrize(
    "neutral",
    [
        {"function_call": "none"},
        {"modalities": ["text"]},
        {"store": False},
        {"service_tier": "auto"},
        {"user": "me", "metadata": {"a": "b"}, "safety_identifier": "x", "prompt_cache_key": "y"},
    ],
)
def test_what_asks_for_nothing_is_accepted(neutral):
    assert chat(**neutral) == chat()


@pytest.mark.parametrize("neutral", [{"best_of": 1}, {"suffix": ""}])
def test_what_asks_for_nothing_of_a_completion_is_accepted(neutral):
    assert complete(**neutral) == complete()


@pytest.mark.parametrize(
    ("build", "name", "value"),
    [
        (chat, "functions", [{}]),
        (chat, "audio", {"voice": "x"}),
        (chat, "modalities", ["text", "audio"]),
        (chat, "prediction", {}),
        (chat, "store", True),
        (chat, "web_search_options", {}),
        (complete, "suffix", "end"),
        (complete, "best_of", 2),
        (complete, "best_of", True),
    ],
)
def test_what_openai_defines_and_we_lack_is_refused_by_name(build, name, value):
    error = refusal(build, **{name: value})
    assert isinstance(error, UnsupportedParameter)
    assert error.param == name
    assert name in error.message


@pytest.mark.parametrize(
    ("build", "parameters", "param", "hint"),
    [
        (chat, {"temprature": 1}, "temprature", "unknown"),
        (chat, {"temprature": None}, "temprature", "unknown"),
        (chat, {"temperature": 2.1}, "temperature", "less than or equal to 2"),
        (chat, {"temperature": float("nan")}, "temperature", "finite"),
        (chat, {"temperature": float("inf")}, "temperature", "finite"),
        (chat, {"temperature": "1"}, "temperature", "number"),
        (chat, {"temperature": True}, "temperature", "number"),
        (chat, {"temperature": 10**400}, "temperature", "number"),
        (chat, {"top_p": 1.1}, "top_p", "less than or equal to 1"),
        (chat, {"top_k": -1}, "top_k", "greater than or equal to 0"),
        (chat, {"n": 0}, "n", "greater than or equal to 1"),
        (chat, {"n": 129}, "n", "less than or equal to 128"),
        (chat, {"n": True}, "n", "integer"),
        (chat, {"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        (chat, {"max_tokens": 1.5}, "max_tokens", "integer"),
        (chat, {"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "differs"),
        (chat, {"seed": 2**63}, "seed", "less than or equal"),
        (chat, {"stop": ""}, "stop[0]", "at least 1 character"),
        (chat, {"stop": ["a", 1]}, "stop[1]", "string"),
        (chat, {"stop": ["a"] * 17}, "stop", "at most 16"),
        (chat, {"presence_penalty": -2.5}, "presence_penalty", "greater than or equal to -2"),
        (chat, {"repeat_penalty": 0}, "repeat_penalty", "greater than or equal to 0.01"),
        (chat, {"logit_bias": {"the": 1}}, "logit_bias.the", "token ids"),
        (chat, {"logit_bias": {"9" * 30: 1}}, f"logit_bias.{'9' * 30}", "token ids"),
        (chat, {"logit_bias": {"5": 101}}, "logit_bias.5", "less than or equal to 100"),
        (chat, {"logit_bias": [5]}, "logit_bias", "dictionary"),
        (chat, {"stream": 1}, "stream", "boolean"),
        (chat, {"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        (chat, {"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unknown"),
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
        (chat, {"top_logprobs": 21, "logprobs": True}, "top_logprobs", "less than or equal to 20"),
        (chat, {"top_logprobs": 1}, "top_logprobs", "logprobs: true"),
        (chat, {"logprobs": 1}, "logprobs", "boolean"),
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
        (complete, {"logprobs": 21}, "logprobs", "less than or equal to 20"),
        (complete, {"logprobs": True}, "logprobs", "integer"),
        (complete, {"max_tokens": 0}, "max_tokens", "echo: true"),
        (complete, {"prompt": ["a", 1]}, "prompt", "list of strings"),
        (complete, {"prompt": [[1], []]}, "prompt", "at least one"),
        (complete, {"prompt": [[1], "a"]}, "prompt", "list of strings"),
        (complete, {"prompt": ["a"] * 2049}, "prompt", "2048"),
        (complete, {"prompt": [[[1]]]}, "prompt", "token ids"),
        (complete, {"prompt": []}, "prompt", "token ids"),
        (complete, {"prompt": [1, -1]}, "prompt", "token ids"),
        (complete, {"prompt": [1, True]}, "prompt", "token ids"),
        (complete, {"prompt": None}, "prompt", "missing"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_field_and_what_is_allowed(
    build, parameters, param, hint
):
    error = refusal(build, **parameters)
    assert isinstance(error, InvalidRequest)
    assert error.param == param
    assert param in error.message
    assert hint in error.message
    assert "\n" not in error.message
    assert len(error.message) < 300


def test_a_hostile_name_cannot_break_the_line():
    error = refusal(chat, **{"a\nb" + "x" * 10_000: 1})
    assert "\n" not in error.message
    assert len(error.message) < 300


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


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("hi", ("hi",)),
        (["hi"], ("hi",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2]], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_prompts_of_all_forms_become_a_list(prompt, prompts):
    assert complete(prompt=prompt).prompt == prompts


def test_a_tool_that_is_no_function_is_refused_by_its_type():
    error = refusal(chat, tools=[{"type": "custom", "custom": {"name": "x"}}])
    assert isinstance(error, UnsupportedParameter)
    assert error.param == "tools[0]"
    assert "'custom'" in error.message


@pytest.mark.parametrize(
    ("parameters", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, '{"type":"object"}'),
        ({"response_format": {"type": "json_object", "schema": {"a": 1}}}, '{"a":1}'),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
         '{"type":"object"}'),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True,
          "description": "d", "schema": {"z": 1, "a": {"$ref": "#/z"}}}}},
         '{"z":1,"a":{"$ref":"#/z"}}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("build", [chat, complete])
def test_a_response_format_becomes_a_schema(build, parameters, constraint):
    wanted = constraint and Constraint("json_schema", constraint, "response_format")
    assert build(**parameters).constraint == wanted


@pytest.mark.parametrize("build", [chat, complete])
def test_a_grammar_goes_to_the_engine_as_it_is(build):
    assert build(grammar='root ::= "a"').constraint == Constraint("gbnf", 'root ::= "a"', "grammar")


ADD, SUB = (Tool(name, "", {"type": "object", "properties": {}}) for name in ("add", "sub"))


@pytest.mark.parametrize(
    ("choice", "use"),
    [
        (None, ToolUse((ADD, SUB), "auto")),
        ("auto", ToolUse((ADD, SUB), "auto")),
        ("required", ToolUse((ADD, SUB), "required")),
        (named("sub"), ToolUse((SUB,), "named")),
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


def test_how_many_logprobs_there_are():
    assert chat().sampling(0).num_logprobs is None
    assert chat(logprobs=True).sampling(0).num_logprobs == 0
    assert chat(logprobs=True, top_logprobs=20).sampling(0).num_logprobs == 20
    assert complete(logprobs=0).sampling(0).num_logprobs == 0
    assert complete(logprobs=5).sampling(0).num_logprobs == 5


def test_zero_tokens_are_a_limit_like_any_other():
    assert complete(max_tokens=0, echo=True).token_limit == 0
    assert chat(max_completion_tokens=3).token_limit == 3
