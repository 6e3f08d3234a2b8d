"""A template tells which notation its model speaks."""

import pytest

from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.families import dialect_of, family_of
from gguf_server.prompt.output import Content, Reasoning
from tests.server.prompt import samples
from tests.server.prompt.test_template import SMOLLM2

# Lines of real templates, as they stand in them.
QWEN = (
    '{%- if tools %}{{- "<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": '
    '<args-json-object>}\\n</tool_call><|im_end|>\\n" }}'
)
LLAMA = (
    "{%- if tools is not none %}{{- '<|start_header_id|>' }}{{- 'Respond in the format "
    '{"name": function name, "parameters": dictionary of argument name and its value}.\' }}'
)
NEMO = '{%- if tools is not none %}{{- "[TOOL_CALLS][" }}{%- for tool_call in message.tool_calls %}'
GPT_OSS = (
    '{%- if tools %}{{- "<|start|>assistant to=" }}{{- "functions." + tool_call.name + '
    '"<|channel|>commentary " }}'
)
QWEN_CODER = (
    "{% if tools %}{{ '<tool_call>\\n<function=example>\\n<parameter=example>\\n' }}"
    '"arguments": {% endif %}'
)
GLM = "{% if tools %}<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>"


@pytest.mark.parametrize(
    ("template", "family"),
    [
        (QWEN, "hermes"),
        (LLAMA, "llama3"),
        (NEMO, "mistral"),
        (GPT_OSS, "harmony"),
        (QWEN_CODER, None),
        (GLM, None),
        (SMOLLM2, None),
        ("", None),
        (samples.R1, None),
        *((template, dialect_of(template).name) for template in samples.WITH_TOOLS),
    ],
)
def test_a_template_names_its_family(template, family):
    assert family_of(template) == family
    assert dialect_of(template).name == (family or "hermes")


@pytest.mark.parametrize(
    ("template", "special", "shown"),
    [
        (SMOLLM2, {}, False),
        (QWEN, {}, False),
        (QWEN, {"<tool_call>": 7}, True),
        (samples.R1, {"</think>": 7}, True),
        (LLAMA, {}, True),
        (NEMO, {}, True),
        (GPT_OSS, {}, True),
    ],
)
def test_control_tokens_are_shown_where_they_are_notation(template, special, shown):
    assert dialect_of(template, special).show_special is shown


@pytest.mark.parametrize("use", [ToolUse(), ToolUse(samples.TOOLS, "none")])
def test_a_template_with_reasoning_alone_gets_reasoning_alone(use):
    parser = dialect_of(samples.R1).parser("<think>\n", use)
    call = samples.HERMES_SAMPLES[0].text
    assert [*parser.push(f"Hm.</think>{call}"), *parser.finish()] == [
        Reasoning("Hm."),
        Content(call),
    ]
