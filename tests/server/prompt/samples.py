"""Answers in each family's documented notation, and what they say.

Hermes: Hermes-Function-Calling and Qwen's templates. Llama: Meta's prompt format pages for 3.1 and
3.2. Mistral: mistral-common and the templates of Nemo, Small 3.2 and Ministral 3. Harmony: OpenAI's
description of the format. Ids are left out unless the model wrote them.
"""

from dataclasses import dataclass

from gguf_server.prompt.dialect import Tool, ToolUse
from gguf_server.prompt.output import Content, Piece, Reasoning, ToolCall

ANY_ID = "any"
_WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = (
    Tool("get_weather", "The weather in a city", _WEATHER),
    Tool("get_weather_alerts", "Warnings", {"type": "object", "properties": {}}),
    Tool("run", "Runs code", {"type": "object", "properties": {"code": {"type": "string"}}}),
)
AUTO = ToolUse(TOOLS, "auto")
ONE = ToolUse(TOOLS, "auto", parallel=False)
NONE = ToolUse()

# The marks by which a family is known, and nothing else of the real templates.
HERMES = "{{ tools }}<tool_call>\n{'name': n, \"arguments\": a}\n</tool_call>"
QWEN3 = HERMES + "<think>\n</think>"
LLAMA3 = '{{ tools }}<|start_header_id|>{"name": n, "parameters": a}<|python_tag|>'
MISTRAL = "{{ tools }}[TOOL_CALLS][{}]"
MISTRAL_CALL_ID = "{{ tools }}[TOOL_CALLS]n[CALL_ID]i[ARGS]{}"
MINISTRAL = "{{ tools }}[THINK][/THINK][TOOL_CALLS]n[ARGS]{}"
HARMONY = "{{ tools }}<|start|>assistant<|channel|>commentary to=functions.n<|message|>"
PLAIN = "<|im_start|>{{ messages }}"
R1 = "<think>\n</think>"
WITH_TOOLS = (HERMES, QWEN3, LLAMA3, MISTRAL, MISTRAL_CALL_ID, MINISTRAL, HARMONY)
TEMPLATES = (*WITH_TOOLS, PLAIN, R1)


@dataclass(frozen=True)
class Sample:
    name: str
    template: str
    text: str
    pieces: tuple[Piece, ...]
    prompt: str = "..."
    use: ToolUse = AUTO


def call(name: str, arguments: str, call_id: str = ANY_ID) -> ToolCall:
    return ToolCall(call_id, name, arguments)


PARIS = call("get_weather", '{"city":"Paris"}')
ROME = call("get_weather", '{"city":"Rome","days":2}')
ALERTS = call("get_weather_alerts", "{}")
CODE = r'{"code":"print(\"h\u00e9\\n\") # </tool_call> } ] é 日本 😀 <|call|> [TOOL_CALLS]"}'
_H_PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
_H_ROME = (
    '<tool_call>\n{"arguments": {"city": "Rome", "days": 2}, "name": "get_weather"}\n</tool_call>'
)
_L_PARIS = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
_L_ROME = '{"type": "function", "name": "get_weather", "parameters": {"city": "Rome", "days": 2}}'
_M_PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "VvvODy9mT"}'
_M_ROME = '{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}'
_PARIS_WITH_ID = call("get_weather", '{"city":"Paris"}', "VvvODy9mT")
_G_ANALYSIS = "<|channel|>analysis<|message|>Need the weather.<|end|><|start|>assistant"
_G_PARIS = (
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    '{"city": "Paris"}<|call|>'
)


def _content(text: str, family: tuple[str, ...], name: str, use: ToolUse = AUTO) -> list[Sample]:
    """Text that stays what it is."""
    return [Sample(name, template, text, (Content(text),), use=use) for template in family]


HERMES_SAMPLES = (
    Sample("one call", HERMES, _H_PARIS, (PARIS,)),
    Sample("two calls", HERMES, f"{_H_PARIS}\n{_H_ROME}\n", (PARIS, ROME)),
    Sample("on one line", HERMES, _H_PARIS.replace("\n", ""), (PARIS,)),
    Sample(
        "text before", HERMES, f"Let me see < 3.\n\n{_H_PARIS}", (Content("Let me see < 3."), PARIS)
    ),
    Sample("text between", HERMES, f"{_H_PARIS}\nand {_H_ROME}", (PARIS, Content("and"), ROME)),
    Sample(
        "no arguments",
        HERMES,
        '<tool_call>{"name":"get_weather_alerts","arguments":{ }}</tool_call>',
        (ALERTS,),
    ),
    Sample(
        "escapes",
        HERMES,
        f'<tool_call>\n{{"name": "run", "arguments": {CODE}}}\n</tool_call>',
        (call("run", CODE),),
    ),
    Sample(
        "numbers and lists",
        HERMES,
        '<tool_call>{"name": "run", "arguments": {"b": 1.0, "a": [1e5, -0, null]}}</tool_call>',
        (call("run", '{"b":1.0,"a":[1e5,-0,null]}'),),
    ),
    Sample("no closing mark", HERMES, _H_PARIS.removesuffix("\n</tool_call>"), (PARIS,)),
    Sample("half a closing mark", HERMES, _H_PARIS.removesuffix("call>"), (PARIS,)),
    Sample("only one counts", HERMES, f"{_H_PARIS}\n{_H_ROME}", (PARIS, Content(_H_ROME)), use=ONE),
    Sample(
        "reasoning, then a call",
        QWEN3,
        f"<think>\nParis?\n\nYes, <tool_call>.\n</think>\n\n{_H_PARIS}",
        (Reasoning("Paris?\n\nYes, <tool_call>."), PARIS),
    ),
    Sample(
        "reasoning opened by the prompt",
        QWEN3,
        f"Paris?\n</think>\n\nOn it.\n{_H_PARIS}",
        (Reasoning("Paris?"), Content("On it."), PARIS),
        prompt="<|im_start|>assistant\n<think>\n",
    ),
    Sample("empty reasoning", QWEN3, "<think>\n\n</think>\n\nHi!\n", (Content("Hi!\n"),)),
    Sample("cut in reasoning", QWEN3, "<think>\nHm </thi", (Reasoning("Hm </thi"),)),
    Sample(
        "without tools",
        QWEN3,
        f"<think>a</think>{_H_PARIS}",
        (Reasoning("a"), Content(_H_PARIS)),
        use=NONE,
    ),
    Sample("not at the start", QWEN3, "Say <think>a</think>", (Content("Say <think>a</think>"),)),
    Sample("taught", PLAIN, f"Sure.\n{_H_PARIS}", (Content("Sure."), PARIS)),
    Sample("R1", R1, "a</think>b", (Reasoning("a"), Content("b")), prompt="<think>\n"),
    *_content("<tool_call>\n<tool_call", (HERMES,), "a mark in a mark"),
    *_content(_H_PARIS.replace("get_weather", "get"), (HERMES,), "unknown tool"),
    *_content(_H_PARIS.replace('"Paris"', "Paris"), (HERMES,), "no JSON"),
    *_content(_H_PARIS.replace("}}", "}"), (HERMES,), "a brace too few"),
    *_content(_H_PARIS.replace("}}", "}}}"), (HERMES,), "a brace too many"),
    *_content(_H_PARIS.replace('{"city": "Paris"}', '"Paris"'), (HERMES,), "no object"),
    *_content(_H_PARIS[:50], (HERMES,), "cut in a string"),
    *_content("\n text \n<tool_call>\n", (HERMES,), "only a mark"),
    Sample(
        "a call after a broken one",
        HERMES,
        f'<tool_call>\n{{"name": {_H_PARIS}',
        (Content('<tool_call>\n{"name":'), PARIS),
    ),
)

LLAMA3_SAMPLES = (
    Sample("one call", LLAMA3, _L_PARIS, (PARIS,)),
    Sample("arguments", LLAMA3, _L_PARIS.replace("parameters", "arguments"), (PARIS,)),
    Sample("tag and end", LLAMA3, f"<|python_tag|>{_L_PARIS}<|eom_id|>", (PARIS,)),
    Sample("two calls", LLAMA3, f"\n{_L_PARIS}; {_L_ROME}", (PARIS, ROME)),
    Sample("two tagged calls", LLAMA3, f"<|python_tag|>{_L_PARIS};{_L_ROME}", (PARIS, ROME)),
    Sample(
        "text, then a tag", LLAMA3, f"Well.\n<|python_tag|>{_L_PARIS}", (Content("Well."), PARIS)
    ),
    Sample("escapes", LLAMA3, f'{{ "name" : "run", "parameters": {CODE}}}', (call("run", CODE),)),
    Sample("text after", LLAMA3, f"{_L_PARIS}\nDone.", (PARIS, Content("Done."))),
    Sample("bad second call", LLAMA3, f"{_L_PARIS}; {{}}", (PARIS, Content("; {}"))),
    Sample(
        "only one counts",
        LLAMA3,
        f"{_L_PARIS}; {_L_ROME}",
        (PARIS, Content(f"; {_L_ROME}")),
        use=ONE,
    ),
    *_content(f"I would say {_L_PARIS}", (LLAMA3,), "JSON in a text"),
    *_content('{"city": "Paris"}', (LLAMA3,), "other JSON"),
    *_content('{"name": "Paris"}', (LLAMA3,), "other JSON with a name"),
    *_content(_L_PARIS[:-1], (LLAMA3,), "a brace too few"),
    *_content('<|python_tag|>print("hi")', (LLAMA3,), "code"),
    *_content("<|python_tag|> {", (LLAMA3,), "cut"),
    *_content(_L_PARIS, (LLAMA3,), "without tools", NONE),
)

MISTRAL_SAMPLES = (
    Sample("one call", MISTRAL, f"[TOOL_CALLS][{_M_PARIS}]", (_PARIS_WITH_ID,)),
    Sample("two calls", MISTRAL, f"[TOOL_CALLS] [{_M_PARIS}, {_M_ROME}]\n", (_PARIS_WITH_ID, ROME)),
    Sample("bad id", MISTRAL, f"[TOOL_CALLS][{_M_PARIS.replace('VvvODy9mT', '1')}]", (PARIS,)),
    Sample(
        "text before", MISTRAL, f"Sure [1].\n[TOOL_CALLS][{_M_ROME}]", (Content("Sure [1]."), ROME)
    ),
    Sample(
        "cut in the second", MISTRAL, f'[TOOL_CALLS][{_M_ROME}, {{"na', (ROME, Content(', {"na'))
    ),
    Sample("no bracket", MISTRAL, f"[TOOL_CALLS][{_M_ROME}", (ROME,)),
    Sample(
        "one counts",
        MISTRAL,
        f"[TOOL_CALLS][{_M_ROME},{_M_ROME}]",
        (ROME, Content(f",{_M_ROME}]")),
        use=ONE,
    ),
    Sample(
        "escapes",
        MISTRAL,
        f'[TOOL_CALLS][{{"name": "run", "arguments": {CODE}}}]',
        (call("run", CODE),),
    ),
    Sample("named", MINISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}', (PARIS,)),
    Sample(
        "several named",
        MINISTRAL,
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_weather_alerts[ARGS]{}',
        (PARIS, ALERTS),
    ),
    Sample(
        "named with an id",
        MISTRAL_CALL_ID,
        '[TOOL_CALLS]get_weather[CALL_ID]VvvODy9mT[ARGS]{"city": "Paris"}',
        (_PARIS_WITH_ID,),
    ),
    Sample(
        "reasoning",
        MINISTRAL,
        '[THINK]Paris [it is].[/THINK]Well:[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
        (Reasoning("Paris [it is]."), Content("Well:"), PARIS),
    ),
    Sample(
        "escapes in a named one", MINISTRAL, f"[TOOL_CALLS]run[ARGS]{CODE}", (call("run", CODE),)
    ),
    *_content("[TOOL_CALLS]get[ARGS]{}", (MINISTRAL,), "unknown tool"),
    *_content("[TOOL_CALLS]get_weather[CALL_ID]123", (MISTRAL_CALL_ID,), "cut in an id"),
    *_content("[TOOL_CALLS]get_weather[ARGS]{,}", (MINISTRAL,), "no JSON"),
    *_content("[TOOL_CALLS]get_weather[ARGS] {", (MINISTRAL,), "cut"),
    *_content('[TOOL_CALLS][{"name": "get", "arguments": {}}]', (MISTRAL,), "unknown in a list"),
    *_content('[TOOL_CALLS][{"name": "run"}]', (MISTRAL,), "no arguments"),
    *_content(f"[TOOL_CALLS][{_M_PARIS}]", (MISTRAL,), "without tools", NONE),
    *_content("[TOOL_CALLS] [", (MISTRAL,), "only a mark"),
)

HARMONY_SAMPLES = (
    Sample(
        "final",
        HARMONY,
        "<|channel|>analysis<|message|>Simple: 2 + 2.<|end|><|start|>assistant"
        "<|channel|>final<|message|>2 + 2 = 4.\n<|return|>",
        (Reasoning("Simple: 2 + 2."), Content("2 + 2 = 4.\n")),
        use=NONE,
    ),
    Sample("a call", HARMONY, _G_ANALYSIS + _G_PARIS, (Reasoning("Need the weather."), PARIS)),
    Sample("stopped at the end", HARMONY, _G_PARIS.removesuffix("<|call|>"), (PARIS,)),
    Sample(
        "recipient before the channel",
        HARMONY,
        f"{_G_ANALYSIS} to=functions.get_weather<|channel|>commentary json<|message|>"
        '{"city":"Paris"}',
        (Reasoning("Need the weather."), PARIS),
    ),
    Sample(
        "recipient first of all",
        HARMONY,
        " to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>"
        '{"city":"Paris"}',
        (PARIS,),
    ),
    Sample(
        "preamble",
        HARMONY,
        f"<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant{_G_PARIS}",
        (Content("I will look."), PARIS),
    ),
    Sample("two calls", HARMONY, f"{_G_PARIS}<|start|>assistant{_G_PARIS}", (PARIS, PARIS)),
    Sample(
        "only one counts",
        HARMONY,
        f"{_G_PARIS}<|start|>assistant{_G_PARIS}",
        (PARIS, Content(f"<|start|>assistant{_G_PARIS}")),
        use=ONE,
    ),
    Sample(
        "escapes",
        HARMONY,
        f"<|channel|>commentary to=functions.run <|constrain|>json<|message|>{CODE}<|call|>",
        (call("run", CODE),),
    ),
    Sample(
        "no end before a start",
        HARMONY,
        "<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b",
        (Reasoning("a"), Content("b")),
    ),
    Sample("cut in reasoning", HARMONY, _G_ANALYSIS[:40], (Reasoning("Need the w"),)),
    *_content(_G_PARIS.replace("get_weather", "get"), (HARMONY,), "unknown tool"),
    *_content(_G_PARIS.replace("functions.", ""), (HARMONY,), "unknown recipient"),
    *_content(_G_PARIS[:-12], (HARMONY,), "cut in a call"),
    *_content(_G_PARIS.replace('"}', '"}}'), (HARMONY,), "a brace too many"),
    *_content("<|channel|>final", (HARMONY,), "cut in a header"),
    *_content(_G_PARIS, (HARMONY,), "without tools", NONE),
)

_PLAIN_TEXTS = {
    "words": "Paris is nice. 2 < 3 and {x} [y] | \n",
    "indented": "\n    code\n\n",
    "unicode": "é 日本 😀 \u00a0 \u3000",
    "blank": " \n\n ",
    "a list": "[1, 2] and <b>bold</b>",
    "begun marks": "a <tool_c b [TOOL_ c <|chan d <|python_ e <thin f [THIN",
}

SAMPLES = (
    *HERMES_SAMPLES,
    *LLAMA3_SAMPLES,
    *MISTRAL_SAMPLES,
    *HARMONY_SAMPLES,
    *(
        sample
        for name, text in _PLAIN_TEXTS.items()
        for use in (AUTO, NONE)
        for sample in _content(text, TEMPLATES, name, use)
    ),
)
