"""Laws of answers: however the engine's output is cut, a stream makes the same as the whole."""

import itertools
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.api.answers import Answers, Completion, encode
from gguf_server.api.chat_answers import ChatAnswers
from gguf_server.api.stream import event
from gguf_server.api.text_answers import TextAnswers
from gguf_server.prompt.output import OutputParser
from gguf_server.supervisor.generation import Delta
from gguf_server.wire.messages import FinishReason
from tests.server.api.fakes import TagParser, scored
from tests.server.api.sse import events_in

TEXTS = st.lists(
    st.sampled_from(
        ["a", "é", "日本", "\u2028", '"', "<think>", "</think>", "<call>", "</call>", " "]
    ),
    max_size=12,
)
REASONS: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "length"])


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def deltas_of(pieces: list[str], *, with_logprobs: bool, prompt: str = "") -> list[Delta]:
    """One for each piece; the tokens of the prompt before them, in two parts."""
    deltas = []
    if prompt:
        tokens = [scored("<s>", None), *(scored(letter, -1.0, 2) for letter in prompt)]
        deltas += [Delta("", [], tokens[:2]), Delta("", [], tokens[2:])]
    deltas += [Delta(piece, [scored(piece, -0.5, 2)] if with_logprobs else ()) for piece in pieces]
    return [delta for delta in deltas if any(delta)]


def whole(answers: Answers, deltas: list[Delta], reason: FinishReason) -> dict[str, Any]:
    answer = answers.whole(3)
    for delta in deltas:
        answer.push(delta)
    found: dict[str, Any] = json.loads(encode(answer.finish(reason)))
    return found


def streamed(answers: Answers, deltas: list[Delta], reason: FinishReason) -> list[dict[str, Any]]:
    """The choices of all events."""
    answer = answers.streamed(3, lambda choice: event(Completion("id", "x", 0, "m", [choice])))
    body = b"".join([*(answer.push(delta) for delta in deltas), answer.finish(reason)])
    choices = [json.loads(each)["choices"][0] for each in events_in(body.decode())]
    assert {choice["index"] for choice in choices} == {3}
    assert all(choice["finish_reason"] is None for choice in choices[:-1])
    return choices


def joined_text(choices: list[dict[str, Any]]) -> dict[str, Any]:
    parts = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {
        "index": 3,
        "text": "".join(choice["text"] for choice in choices),
        "finish_reason": choices[-1]["finish_reason"],
        "logprobs": {name: [each for part in parts for each in part[name]] for name in names},
    }


def joined_chat(choices: list[dict[str, Any]]) -> dict[str, Any]:
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [choice["delta"] for choice in choices[1:]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call.pop("index") for call in calls] == list(range(len(calls)))
    content = "".join(delta.get("content", "") for delta in deltas)
    reasoning = "".join(delta.get("reasoning_content", "") for delta in deltas)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content or (None if calls else ""),
        "refusal": None,
    }
    message |= {"reasoning_content": reasoning} if reasoning else {}
    message |= {"tool_calls": calls} if calls else {}
    parts = [choice["logprobs"]["content"] for choice in choices if choice["logprobs"]]
    return {
        "index": 3,
        "message": message,
        "finish_reason": choices[-1]["finish_reason"],
        "logprobs": [each for part in parts for each in part],
    }


@settings(deadline=None)
@given(
    texts=TEXTS,
    cuts=st.lists(st.integers(1, 40), max_size=6),
    reason=REASONS,
    prompt=st.sampled_from(["", "hü", "日"]),
    with_logprobs=st.booleans(),
)
def test_a_streamed_text_is_the_whole_text(
    texts: list[str], cuts: list[int], reason: FinishReason, prompt: str, with_logprobs: bool
) -> None:
    answers = TextAnswers(prompt, with_logprobs=with_logprobs)
    pieces = pieces_of("".join(texts), cuts)
    scored_prompt = prompt if with_logprobs else ""
    deltas = deltas_of(pieces, with_logprobs=with_logprobs, prompt=scored_prompt)
    expected = whole(answers, deltas, reason)
    found = joined_text(streamed(answers, deltas, reason))
    assert expected["text"] == prompt + "".join(texts)
    if not with_logprobs:
        assert expected["logprobs"] is None
        found["logprobs"] = None
    assert found == expected


@settings(deadline=None)
@given(
    texts=TEXTS, cuts=st.lists(st.integers(1, 40), max_size=6), reason=REASONS,
    with_logprobs=st.booleans(),
)  # fmt: skip
def test_a_streamed_message_is_the_whole_message(
    texts: list[str], cuts: list[int], reason: FinishReason, with_logprobs: bool
) -> None:
    new_parser: Callable[[], OutputParser] = TagParser
    answers = ChatAnswers(new_parser, with_logprobs=with_logprobs)
    deltas = deltas_of(pieces_of("".join(texts), cuts), with_logprobs=with_logprobs)
    expected = whole(answers, deltas, reason)
    logprobs = expected["logprobs"]
    expected["logprobs"] = logprobs["content"] if with_logprobs else []
    assert joined_chat(streamed(answers, deltas, reason)) == expected


@settings(deadline=None)
@given(texts=TEXTS, cuts=st.lists(st.integers(1, 40), max_size=6))
def test_each_offset_is_where_the_token_begins_in_the_text(
    texts: list[str], cuts: list[int]
) -> None:
    deltas = deltas_of(pieces_of("".join(texts), cuts), with_logprobs=True, prompt="hü")
    choice = whole(TextAnswers("hü", with_logprobs=True), deltas, "stop")
    logprobs = choice["logprobs"]
    for token, offset in list(zip(logprobs["tokens"], logprobs["text_offset"], strict=True))[1:]:
        assert choice["text"].startswith(token, offset)
