"""Templates as model makers write them, and as an attacker would."""

from datetime import UTC, datetime

import pytest

from gguf_server.errors import ChatTemplateError
from gguf_server.prompt.protocol import Render
from gguf_server.prompt.template import render

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
HI = [{"role": "user", "content": "hi"}]

# As in SmolLM2-135M-Instruct.
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def rendered(template: str, messages=HI, tools=(), **variables) -> str:
    question = Render(template, list(messages), "<s>", "</s>", list(tools), variables)
    return render(question, now=NOW)


def test_smollm2_adds_its_system_message_and_opens_the_answer():
    assert rendered(SMOLLM2) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_smollm2_keeps_the_system_message_it_is_given():
    prompt = rendered(SMOLLM2, [{"role": "system", "content": "Be brief."}, *HI])
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi")
    assert "SmolLM" not in prompt


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>hi</s>"),
        ("{% if tools is none and documents is none %}plain{% endif %}", "plain"),
        ("{% if tools %}tools{% endif %}", ""),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", '{"a": 2, "b": 1}'),
        ("{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", '"\\u00e9"'),
        ("{{ strftime_now('%d %b %Y') }}", "05 Mar 2026"),
        ("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("{% for m in [1, 2] %}{% if m == 1 %}{% continue %}{% endif %}{{ m }}{% endfor %}", "2"),
        ("{% generation %}answer{% endgeneration %}", "answer"),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
        ("{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}", "2"),
        ("{{ messages[0].tool_calls is defined }}", "False"),
        ("{{ messages[0]['content'].strip().split('i')[0] }}", "h"),
    ],
)
def test_the_conventions_of_hugging_face_hold(template, prompt):
    assert rendered(template) == prompt


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% if %}", "line 1"),
        ("text\n{{ messages", "line 2"),
        ("{{ raise_exception('roles must\nalternate') }}", "roles must alternate"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ ''['__class__']['__mro__'] }}", "unsafe"),
        ("{{ (''|attr('__class__')).__mro__ }}", "unsafe"),
        ("{{ '{0.__class__.__mro__}'.format('') }}", "unsafe"),
        ("{{ raise_exception.__globals__.sys }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages|attr('append')(1) }}", "unsafe"),
        ("{{ lipsum.__globals__['os'].popen('id').read() }}", "unsafe"),
        ("{{ lipsum|attr('__globals__') }}{{ (lipsum|attr('__globals__')).os }}", "unsafe"),
        ("{{ joiner.__init__.__globals__ }}{{ joiner.__init__.__globals__.os }}", "unsafe"),
        ("{{ namespace.__init__.__globals__.os }}", "unsafe"),
        ("{{ self.__init__.__globals__.os }}", "unsafe"),
        ("{{ self._TemplateReference__context.eval_ctx.x }}", "unsafe"),
        ("{{ dict.__base__.__subclasses__() }}", "unsafe"),
        ("{{ strftime_now.__self__.__class__.__mro__ }}", "unsafe"),
        ("{{ (1).__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ [''|attr('_' ~ '_class_' ~ '_')]|map(attribute='__mro__')|first + 1 }}", "unsafe"),
        ("{{ [{'a': ''}]|map(attribute='a.__class__.__mro__')|first + 1 }}", "unsafe"),
        ("{{ [messages]|map('attr', 'append')|first()(1) }}", "unsafe"),
        ("{{ ('{0.__class__.__mro__}'|attr('format'))('') }}", "unsafe"),
        ("{{ '{a.__class__.__mro__}'.format_map({'a': ''}) }}", "unsafe"),
        ("{{ ('{0.__class__}{1}'|format)('') }}", "chat template"),
        ("{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}", "unsafe"),
        ("{{ (''|attr)('__class__') }}", "chat template"),
        ("{% include 'x' %}", "loader"),
        ("{% import '/etc/passwd' as p %}", "loader"),
        ("{% extends 'x' %}", "loader"),
        ("{{ range(10**9) }}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply"),
        ("{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "more than 8,388,608"),
        ("{{ raise_exception('x' * 100000) }}", "xxx"),
    ],
)
def test_a_bad_template_is_one_short_line(template, reason):
    with pytest.raises(ChatTemplateError) as caught:
        rendered(template)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) <= 300


def test_messages_are_not_changed_by_a_template():
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(ChatTemplateError):
        rendered("{{ messages[0].update({'content': 'x'}) }}", messages)
    assert messages == HI
