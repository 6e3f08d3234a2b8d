"""Reading answers: however the text is cut, it says the same and nothing is lost."""

import codecs
import gc
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.prompt.families import dialect_of
from gguf_server.prompt.mistral import is_mistral_id
from gguf_server.prompt.output import Content, Piece, Reasoning, ToolCall
from tests.server.prompt.samples import (
    ANY_ID,
    AUTO,
    HARMONY,
    HERMES,
    LLAMA3,
    MINISTRAL,
    MISTRAL,
    MISTRAL_CALL_ID,
    NONE,
    QWEN3,
    SAMPLES,
    TEMPLATES,
    Sample,
)

samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.template[-20:]}-{s.name}")


def read(sample: Sample, parts: Iterable[str]) -> list[Piece]:
    """The pieces, neighbours of a kind joined, ids forgotten where the sample has none."""
    parser = dialect_of(sample.template).parser(sample.prompt, sample.use)
    pieces = [piece for part in parts for piece in parser.push(part)]
    given_ids = {piece.id for piece in sample.pieces if isinstance(piece, ToolCall)}
    joined: list[Piece] = []
    for piece in [*pieces, *parser.finish()]:
        if isinstance(piece, ToolCall):
            joined.append(piece if piece.id in given_ids else replace(piece, id=ANY_ID))
        elif joined and type(joined[-1]) is type(piece):
            joined[-1] = replace(piece, text=joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined


@samples
def test_an_answer_is_read(sample):
    assert read(sample, [sample.text]) == list(sample.pieces)


@samples
def test_an_answer_cut_anywhere_says_the_same(sample):
    raw = sample.text.encode()
    for cut in range(len(raw) + 1):
        decode = codecs.getincrementaldecoder("utf-8")().decode
        parts = [decode(raw[:cut]), decode(raw[cut:], final=True)]
        assert read(sample, parts) == list(sample.pieces), cut


@samples
def test_an_answer_character_by_character_says_the_same(sample):
    assert read(sample, sample.text) == list(sample.pieces)


NOTATION = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "[THINK]", "[/THINK]"),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "<|eom_id|>"),
    *("<|start|>assistant", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", " to=functions."),
    *("analysis", "commentary", "final", "run", ";", ",", "[", "]", "{", "}", '"', "\\"),
    *('{"name": "run", "arguments": {}}', '{"name": "run", "parameters": {}}', " ", "\n", "x", "é"),
)


@settings(deadline=None)
@given(
    st.sampled_from(TEMPLATES),
    st.sampled_from([AUTO, NONE, replace(AUTO, parallel=False)]),
    st.sampled_from(["...", "<think>\n", "[THINK]"]),
    st.lists(st.sampled_from(NOTATION), max_size=20),
)
def test_any_mixture_of_notation_says_the_same_however_it_is_cut(template, use, prompt, words):
    text = "".join(words)
    sample = Sample("", template, text, (), prompt, use)
    whole = read(sample, [text])
    assert read(sample, text) == whole
    assert read(sample, words) == whole


@settings(deadline=None)
@given(st.sampled_from(TEMPLATES), st.sampled_from([AUTO, NONE]), st.text())
def test_text_without_notation_survives(template, use, text):
    pieces = read(Sample("", template, text, (), use=use), text)
    assert pieces == ([Content(text)] if text else [])


HOSTILE = {
    QWEN3: ("<tool_call>", '<tool_call>{"', '<tool_call>{"a":[', "<think>"),
    LLAMA3: ("<|python_tag|>", '{"name', '{"name":', ";", "<|eom"),
    MISTRAL: ("[TOOL_", "[TOOL_CALLS]", "[TOOL_CALLS][{", "[THINK]"),
    MISTRAL_CALL_ID: ("[TOOL_CALLS]run[CALL_ID]", "[TOOL_CALLS]run"),
    HARMONY: ("<|", "<|channel|>", " to=", "<|channel|>a to=b "),
}
ENDLESS = (
    (QWEN3, '<tool_call>{"name": "', "x"),
    (QWEN3, '<tool_call>{"name": "run", "arguments": {"code": "', "\\n"),
    (QWEN3, "<tool_call>", " "),
    (LLAMA3, '{"name": "', "</"),
    (MISTRAL_CALL_ID, "[TOOL_CALLS]run[CALL_ID]", "a"),
    (HARMONY, "<|channel|>commentary to=", "a"),
)


@pytest.mark.parametrize(
    ("template", "start", "unit"),
    [
        *((template, "", unit) for template, units in HOSTILE.items() for unit in units),
        *((template, "", unit) for template in HOSTILE for unit in "<{[ "),
        *ENDLESS,
    ],
)
def test_hostile_text_takes_linear_time_and_is_kept(template, start, unit):
    def seconds(length: int) -> float:
        text = start + (unit * (length // len(unit) + 1))[:length]
        parser = dialect_of(template).parser("...", AUTO)
        gc.disable()  # or the rubbish of all tests before would be walked again and again
        began = time.process_time()
        pieces = [piece for character in text for piece in parser.push(character)]
        pieces += parser.finish()
        took = time.process_time() - began
        gc.enable()
        assert sum(len(p.text) for p in pieces if isinstance(p, Content | Reasoning)) > length - 30
        return took

    assert seconds(100_000) < 40 * seconds(10_000) + 0.05


@pytest.mark.parametrize(
    ("template", "text", "certain"),
    [
        (HERMES, "The answer", "The answer"),
        (HERMES, "The answer ", "The answer"),
        (HERMES, "a <tool", "a"),
        (HERMES, "a <tools", "a <tools"),
        (HERMES, "<tool_call>x", "<tool_call>x"),
        (HERMES, '<tool_call>{"a":' + "[" * 200, '<tool_call>{"a":' + "[" * 200),
        (LLAMA3, '{"city', '{"city'),
        (LLAMA3, '{"name": "x', ""),
        (MISTRAL, "[TOOL_", ""),
        (MISTRAL, "[TOOL]", "[TOOL]"),
        (MINISTRAL, "[TOOL_CALLS]get_tea", "[TOOL_CALLS]get_tea"),
        (HARMONY, "<|channel|>final<|message|>The ", "The "),
        (QWEN3, "<think>\nHm, well", "Hm, well"),
        (QWEN3, "<thin", ""),
    ],
)
def test_text_comes_as_early_as_it_is_certain(template, text, certain):
    parser = dialect_of(template).parser("...", AUTO)
    pieces = [piece for character in text for piece in parser.push(character)]
    assert "".join(p.text for p in pieces if isinstance(p, Content | Reasoning)) == certain


def test_a_call_comes_with_its_end():
    text = '<tool_call>\n{"name": "run", "arguments": {}}\n</tool_call>'
    parser = dialect_of(HERMES).parser("...", AUTO)
    assert parser.push(text[:-1]) == []
    (call,) = parser.push(text[-1])
    assert isinstance(call, ToolCall)
    assert call.id.startswith("call_")


def test_calls_have_ids_of_their_own():
    one = '<tool_call>{"name": "run", "arguments": {}}</tool_call>'
    calls = dialect_of(HERMES).parser("...", AUTO).push(one * 2)
    assert len({call.id for call in calls if isinstance(call, ToolCall)}) == 2


def test_mistral_has_its_own_kind_of_ids():
    parser = dialect_of(MINISTRAL).parser("...", AUTO)
    (call,) = [*parser.push("[TOOL_CALLS]run[ARGS]{}"), *parser.finish()]
    assert isinstance(call, ToolCall)
    assert is_mistral_id(call.id)
