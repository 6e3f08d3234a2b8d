"""Tools and earlier calls, as the templates of each family want them."""

import json

import pytest

from gguf_server.errors import ChatTemplateError
from gguf_server.prompt.families import dialect_of
from gguf_server.prompt.mistral import is_mistral_id
from gguf_server.prompt.output import ToolCall
from tests.server.prompt.samples import AUTO, HARMONY, HERMES, LLAMA3, MISTRAL, PLAIN
from tests.server.prompt.test_template import HI, SMOLLM2, rendered

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
ARGUMENTS = '{"city": "Zürich", "days": 2}'
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": ARGUMENTS},
}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
TURNS = [*HI, CALLING, RESULT]

CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if tools %}{{ tools }}{% endif %}"
)


@pytest.mark.parametrize("marks", [HERMES, LLAMA3, MISTRAL, HARMONY])
def test_a_template_that_knows_tools_is_given_them(marks):
    template = "{# " + marks + " #}{{ tools[0].function.name if tools is not none }}"
    assert rendered(template, tools=[TOOL]) == "get_weather"
    assert rendered(template) == ""


@pytest.mark.parametrize("marks", [HERMES, LLAMA3, MISTRAL, HARMONY])
def test_arguments_are_objects_for_a_template_to_walk_through(marks):
    template = (
        "{# " + marks + " #}"
        "{% for key, value in messages[1].tool_calls[0].function.arguments | items %}"
        "{{ key }}={{ value }};{% endfor %}"
        "{{ messages[1].tool_calls[0].function.arguments | tojson }}"
    )
    assert rendered(template, TURNS) == 'city=Zürich;days=2;{"city": "Zürich", "days": 2}'


@pytest.mark.parametrize("arguments", ["{", "", "[1]", "7", "[" * 5000, None, {"a": 1}])
def test_arguments_that_are_no_json_object_stay_as_they_are(arguments):
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    template = "{# " + HERMES + " #}{{ messages[0].tool_calls[0].function.arguments == a }}"
    assert rendered(template, [{**CALLING, "tool_calls": [call]}], a=arguments) == "True"


def test_mistral_gets_ids_that_it_takes_and_that_belong_together():
    template = (
        "{# " + MISTRAL + " #}{{ messages[1].tool_calls[0].id }} {{ messages[2].tool_call_id }}"
    )
    made, used = rendered(template, TURNS).split()
    assert made == used
    assert is_mistral_id(made)
    assert rendered(template, json.loads(json.dumps(TURNS).replace("call_1", "VvvODy9mT"))) == (
        "VvvODy9mT VvvODy9mT"
    )


def test_gpt_oss_gets_its_reasoning_under_its_own_name():
    template = "{# " + HARMONY + " #}{{ messages[0].thinking }}|{{ messages[0].content }}"
    assert rendered(template, [{**CALLING, "reasoning_content": "Hm.", "content": "x"}]) == "Hm.|"
    told = {"role": "assistant", "reasoning_content": "Hm.", "content": "x"}
    assert rendered(template, [told]) == "Hm.|x"


def test_reasoning_content_reaches_the_template():
    told = {"role": "assistant", "reasoning_content": "Hm.", "content": "x"}
    assert rendered("{{ messages[0].reasoning_content }}", [told]) == "Hm."


@pytest.mark.parametrize("message", [CALLING, {**CALLING, "content": None}])
def test_a_template_that_cannot_take_no_content_gets_an_empty_one(message):
    marks = "{# " + HERMES + " #}"
    assert rendered(marks + "{{ 'said: ' + messages[0].content }}", [message]) == "said: "
    assert rendered(marks + "{{ messages[0].content }}", [message]) == ""
    template = marks + "{% if messages[0].content is string %}text{% else %}none{% endif %}"
    assert rendered(template, [message]) == "none"


def test_variables_of_a_request_reach_the_template():
    template = (
        "{% if enable_thinking is defined and not enable_thinking %}no {% endif %}{{ effort }}"
    )
    assert rendered(template, enable_thinking=False, effort="low") == "no low"
    assert rendered(template) == ""


def test_a_template_without_tools_is_taught_them():
    prompt = rendered(SMOLLM2, tools=[TOOL])
    system, user, assistant = prompt.split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nYou are a function calling AI model.")
    assert json.dumps(TOOL) in system
    assert (
        '<tool_call>\n{"name": <function-name>, "arguments": <args-dict>}\n</tool_call>' in system
    )
    assert (user, assistant) == ("<|im_start|>user\nhi", "<|im_start|>assistant\n")


def test_what_the_system_said_is_kept():
    prompt = rendered(CHATML, [{"role": "system", "content": "Be brief."}, *HI], [TOOL])
    assert prompt.startswith("<system>Be brief.\n\nYou are a function calling")
    assert prompt.count("<system>") == 1


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML,
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endfor %}",
    ],
)
def test_without_a_system_role_the_user_says_it(template):
    prompt = rendered(template, tools=[TOOL])
    assert prompt.startswith("<user>You are a function calling")
    assert prompt.endswith("</tool_call>\n\nhi</>")


def test_earlier_calls_and_results_are_written_out():
    second = {**RESULT, "content": "rainy"}
    messages = [*HI, {**CALLING, "content": "Let me see."}, RESULT, second, *HI]
    assert rendered(CHATML, messages) == (
        "<user>hi</><assistant>Let me see.\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}\n'
        "</tool_call></><user><tool_response>\nsunny\n</tool_response>\n"
        "<tool_response>\nrainy\n</tool_response></><user>hi</>"
    )


def test_a_call_that_was_written_out_is_read_as_the_same_call():
    prompt = rendered("{{ messages[1].content }}", TURNS)
    (call,) = dialect_of(PLAIN).parser("...", AUTO).push(prompt)
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == json.loads(ARGUMENTS)


def test_a_template_that_writes_calls_in_its_own_way_is_taught_too():
    own = "{% for tool in tools or [] %}<function={{ tool.function.name }}>{% endfor %}" + CHATML
    assert "<function=" not in rendered(own, tools=[TOOL])
    assert "You are a function calling" in rendered(own, tools=[TOOL])


def test_messages_are_not_changed_on_the_way():
    before = json.dumps(TURNS)
    for marks in (HERMES, MISTRAL, HARMONY, PLAIN):
        rendered("{# " + marks + " #}{{ messages[0].content }}", TURNS, [TOOL])
    assert json.dumps(TURNS) == before


@pytest.mark.parametrize("marks", [HERMES, PLAIN, MISTRAL, HARMONY])
@pytest.mark.parametrize("calls", [[7], [{}], [{"function": 7}], 7])
def test_calls_that_are_none_are_one_line(marks, calls):
    template = "{# " + marks + " #}{{ messages[0].tool_calls[0].function.name.x.y }}"
    with pytest.raises(ChatTemplateError) as caught:
        rendered(template, [{"role": "assistant", "tool_calls": calls}])
    assert "\n" not in caught.value.message
