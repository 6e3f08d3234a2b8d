"""Grammars: an answer that fits can be read, and what must fit a schema does."""

import json
from dataclasses import replace

import pytest
from llguidance import LLMatcher

from gguf_server.errors import InvalidRequest
from gguf_server.prompt.dialect import Tool, ToolUse
from gguf_server.prompt.families import dialect_of
from gguf_server.prompt.output import Content, Reasoning, ToolCall
from gguf_server.wire.messages import Constraint
from tests.server.prompt.byte_tokens import byte_tokens
from tests.server.prompt.samples import (
    AUTO,
    HARMONY,
    HARMONY_SAMPLES,
    HERMES,
    HERMES_SAMPLES,
    LLAMA3,
    LLAMA3_SAMPLES,
    MINISTRAL,
    MISTRAL,
    MISTRAL_SAMPLES,
    NONE,
    ONE,
    PLAIN,
    QWEN3,
    R1,
    TEMPLATES,
    TOOLS,
)

REQUIRED = replace(AUTO, choice="required")
NAMED = ToolUse(TOOLS[:1], "named")
SCHEMA = Constraint(
    "json_schema",
    '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}',
    "response_format",
)
GBNF = Constraint("gbnf", 'root ::= "x"', "grammar")
CONTROL = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "[THINK]", "[/THINK]"),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>"),
    *("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>"),
)
AS_TEXT, AS_TOKENS = (), CONTROL

vocabularies = pytest.mark.parametrize("special", [AS_TEXT, AS_TOKENS], ids=["text", "tokens"])
templates = pytest.mark.parametrize("template", TEMPLATES)


def grammar_for(template, use, special=(), response=None, prompt="...") -> str:
    dialect = dialect_of(template, byte_tokens(*special).special_tokens)
    constraint = dialect.constraint(prompt, use, response)
    assert constraint is not None
    assert constraint.kind == "lark"
    return constraint.text


def accepts(template, use, text, special=(), response=None, prompt="...") -> bool:
    grammar = grammar_for(template, use, special, response, prompt)
    return byte_tokens(*special).accepts(grammar, text)


@vocabularies
@templates
@pytest.mark.parametrize("use", [AUTO, ONE, REQUIRED, NAMED, NONE], ids=str)
@pytest.mark.parametrize("response", [None, SCHEMA], ids=["free", "schema"])
@pytest.mark.parametrize("prompt", ["...", "<think>\n", "<think>\n\n</think>\n\n", "[THINK]"])
def test_every_grammar_is_valid(special, template, use, response, prompt):
    tokens = byte_tokens(*special)
    constraint = dialect_of(template, tokens.special_tokens).constraint(prompt, use, response)
    if constraint and constraint.kind == "lark":
        assert LLMatcher.validate_grammar(constraint.text, tokens.tokenizer) == ""


@vocabularies
@templates
@pytest.mark.parametrize("use", [REQUIRED, NAMED, ONE, AUTO], ids=str)
def test_whatever_a_model_picks_can_be_read(special, template, use):
    grammar = grammar_for(template, use, special)
    for seed in range(6):
        text = byte_tokens(*special).sample(grammar, seed)
        if text is None:
            continue
        parser = dialect_of(template).parser("...", use)
        pieces = [*parser.push(text), *parser.finish()]
        calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
        for call in calls:
            assert isinstance(json.loads(call.arguments), dict)
        if use.choice != "auto":
            assert calls, text
            assert [p for p in pieces if isinstance(p, Content)] == [] or template == HARMONY, text
        if use.choice == "named":
            assert all("city" in json.loads(call.arguments) for call in calls)


# The grammars fix what the documentation leaves open, such as the order of members.
AS_WE_ASK = (
    *("one call", "text before", "text, then a tag", "a call", "preamble", "reasoning"),
    *("named", "several named", "named with an id", "reasoning opened by the prompt"),
)


@vocabularies
@pytest.mark.parametrize(
    "sample",
    [
        sample
        for sample in (*HERMES_SAMPLES, *LLAMA3_SAMPLES, *MISTRAL_SAMPLES, *HARMONY_SAMPLES)
        if sample.name in AS_WE_ASK and sample.use == AUTO
    ],
    ids=lambda s: f"{s.template[-20:]}-{s.name}",
)
def test_documented_answers_are_allowed(special, sample):
    text = sample.text.removesuffix("<|call|>").removesuffix("<|eom_id|>").strip("\n")
    assert accepts(sample.template, AUTO, text, special, prompt=sample.prompt)


def test_a_call_must_fit_its_tool():
    def call(body: str) -> str:
        return f"<tool_call>\n{body}\n</tool_call>"

    good = call('{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}')
    for use in (AUTO, REQUIRED):
        assert accepts(HERMES, use, good)
        for bad in ('"days": "3"', '"city": 1', '"x'):
            assert not accepts(HERMES, use, good.replace('"days": 3', bad))
        assert not accepts(HERMES, use, good.replace("get_weather", "get"))
        assert not accepts(HERMES, use, call('{"name": "get_weather", "arguments": {}}'))
        assert not accepts(HERMES, use, call('{"name": "run", "arguments": []}'))
    assert accepts(HERMES, NAMED, good)
    assert not accepts(HERMES, NAMED, call('{"name": "run", "arguments": {}}'))


CALLS = {
    HERMES: '<tool_call>\n{"name": "run", "arguments": {}}\n</tool_call>',
    PLAIN: '<tool_call>\n{"name": "run", "arguments": {}}\n</tool_call>',
    LLAMA3: '{"name": "run", "parameters": {}}',
    MISTRAL: '[TOOL_CALLS][{"name": "run", "arguments": {}}]',
    MINISTRAL: "[TOOL_CALLS]run[ARGS]{}",
    HARMONY: "<|channel|>commentary to=functions.run <|constrain|>json<|message|>{}",
}
TEXTS = {HARMONY: "<|channel|>final<|message|>"}
families = pytest.mark.parametrize("template", list(CALLS))


@vocabularies
@families
def test_only_auto_may_do_without_a_call(special, template):
    text = TEXTS.get(template, "") + "Hello {1} <b>."
    assert accepts(template, AUTO, text, special)
    assert not accepts(template, REQUIRED, text, special)
    assert accepts(template, AUTO, CALLS[template], special)
    assert accepts(template, REQUIRED, CALLS[template], special)


MORE = {
    HERMES: "\n" + CALLS[HERMES],
    LLAMA3: "; " + CALLS[LLAMA3],
    MINISTRAL: CALLS[MINISTRAL],
}


@vocabularies
@pytest.mark.parametrize("template", list(MORE))
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_several_calls_only_where_they_are_wanted(special, template, choice):
    text = CALLS[template] + MORE[template]
    assert accepts(template, replace(AUTO, choice=choice), text, special)
    assert not accepts(template, replace(ONE, choice=choice), text, special)


def test_a_llama_that_makes_one_call_a_turn_is_held_to_it():
    template = LLAMA3 + "This model only supports single tool-calls at once!"
    assert accepts(template, REQUIRED, CALLS[LLAMA3])
    assert not accepts(template, REQUIRED, CALLS[LLAMA3] + MORE[LLAMA3])


@vocabularies
@families
def test_beside_tools_content_fits_the_response_format(special, template):
    start = TEXTS.get(template, "")
    assert accepts(template, AUTO, start + '{"a": 1}', special, SCHEMA)
    tag = "<|python_tag|>" if template == LLAMA3 else ""  # bare JSON is what was asked for
    assert accepts(template, AUTO, tag + CALLS[template], special, SCHEMA)
    assert not accepts(template, AUTO, start + "Hello", special, SCHEMA)
    assert not accepts(template, REQUIRED, start + '{"a": 1}', special, SCHEMA)


@vocabularies
@pytest.mark.parametrize("use", [NONE, AUTO], ids=str)
def test_reasoning_is_free_and_what_follows_is_not(special, use):
    assert accepts(QWEN3, use, '<think>\nHm. <b></think>\n\n{"a": 1}', special, SCHEMA)
    assert accepts(QWEN3, use, '{"a": 1}', special, SCHEMA)
    assert not accepts(QWEN3, use, "<think>Hm.", special, SCHEMA)
    assert not accepts(QWEN3, use, "<think>Hm.</think>Hello", special, SCHEMA)
    assert accepts(R1, use, 'Hm.</think>\n{"a": 1}', special, SCHEMA, prompt="<think>\n")
    assert not accepts(R1, use, '{"a": 1}', special, SCHEMA, prompt="<think>\n")


@vocabularies
def test_required_calls_come_after_reasoning(special):
    assert accepts(QWEN3, REQUIRED, f"<think>\nHm.\n</think>\n\n{CALLS[HERMES]}", special)
    assert not accepts(QWEN3, REQUIRED, "<think>\nHm.\n</think>\n\nHello", special)
    analysis = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    assert accepts(HARMONY, REQUIRED, analysis + CALLS[HARMONY], special)
    assert accepts(HARMONY, NONE, analysis + TEXTS[HARMONY] + '{"a": 1}', special, SCHEMA)
    assert not accepts(HARMONY, NONE, analysis + TEXTS[HARMONY] + "1", special, SCHEMA)


def test_references_in_a_tools_schema_are_its_own():
    definitions = {"properties": {"x": {"$ref": "#/$defs/X"}}, "$defs": {"X": {"type": "integer"}}}
    use = ToolUse((Tool("f", "", definitions), Tool("g", "", {"type": "object"})), "required")
    text = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    assert accepts(HERMES, use, text)
    assert not accepts(HERMES, use, text.replace("1", '"1"'))


def test_white_space_in_json_has_an_end():
    text = '<tool_call>\n{"name": "run", "arguments": {%s}}\n</tool_call>'
    assert accepts(HERMES, AUTO, text % "\n    ")
    assert not accepts(HERMES, AUTO, text % "  ")
    assert accepts(QWEN3, NONE, '{\n  "a": 1\n}', response=SCHEMA)
    assert not accepts(QWEN3, NONE, '{  "a": 1}', response=SCHEMA)


def test_a_malformed_schema_is_for_the_engine_to_refuse():
    broken = replace_text(SCHEMA, "{")
    grammar = grammar_for(R1, NONE, response=broken)
    assert LLMatcher.validate_grammar(grammar, byte_tokens().tokenizer)
    anything = replace_text(SCHEMA, "true")
    assert accepts(R1, NONE, "a</think>[1]", response=anything, prompt="<think>")


def replace_text(constraint: Constraint, text: str) -> Constraint:
    return Constraint(constraint.kind, text, constraint.param)


@templates
def test_where_nothing_is_asked_everything_is_allowed(template):
    assert dialect_of(template).constraint("...", NONE, None) is None
    assert dialect_of(template).constraint("...", replace(AUTO, choice="none"), None) is None


@pytest.mark.parametrize("response", [SCHEMA, GBNF])
def test_without_reasoning_and_tools_the_response_is_left_as_it_is(response):
    for template in (PLAIN, HERMES, LLAMA3, MISTRAL):
        assert dialect_of(template).constraint("...", NONE, response) is response
    assert dialect_of(QWEN3).constraint("<think>\n\n</think>\n", NONE, response) is response


@templates
@pytest.mark.parametrize("use", [AUTO, REQUIRED], ids=str)
def test_a_grammar_cannot_be_combined_with_tools(template, use):
    with pytest.raises(InvalidRequest, match="cannot be combined with tools") as caught:
        dialect_of(template).constraint("...", use, GBNF)
    assert caught.value.param == "grammar"


def test_a_grammar_rules_the_whole_answer_or_is_refused():
    assert dialect_of(QWEN3).constraint("...", NONE, GBNF) is GBNF
    for template, prompt in ((R1, "<think>\n"), (HARMONY, "...")):
        with pytest.raises(InvalidRequest, match="reasons first"):
            dialect_of(template).constraint(prompt, NONE, GBNF)


def test_a_grammar_blames_the_field_it_came_from():
    for template, use, param in ((HERMES, AUTO, "tools"), (R1, NONE, "response_format")):
        constraint = dialect_of(template).constraint("...", use, SCHEMA)
        assert constraint is not None
        assert constraint.param == param


def test_reasoning_that_looks_like_a_call_is_reasoning():
    text = f"<think>{CALLS[HERMES]}</think>Hi"
    assert accepts(QWEN3, AUTO, text)
    parser = dialect_of(QWEN3).parser("...", AUTO)
    assert [*parser.push(text), *parser.finish()] == [Reasoning(CALLS[HERMES]), Content("Hi")]
