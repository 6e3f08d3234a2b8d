"""Text completions: several prompts, echoes and log-probabilities, as evaluation harnesses ask."""

import json
from operator import itemgetter
from typing import Any

import httpx
import pytest

from gguf_server.errors import ContextLengthExceeded
from tests.server.api.fakes import FACTS, MODEL_NAME, scored
from tests.server.api.sse import events_of

pytestmark = pytest.mark.anyio


async def complete(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


async def stream(http: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    """The choices of all events."""
    answer = await http.post("/v1/completions", json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    return [choice for event in events_of(answer.text) for choice in event["choices"]]


def joined(choices: list[dict[str, Any]], index: int = 0) -> dict[str, Any]:
    """The choice that a stream's events make together."""
    own = [choice for choice in choices if choice["index"] == index]
    parts = [choice["logprobs"] for choice in own if choice["logprobs"]]
    logprobs = parts and {name: [x for part in parts for x in part[name]] for name in parts[0]}
    return {
        "index": index,
        "text": "".join(choice["text"] for choice in own),
        "finish_reason": own[-1]["finish_reason"],
        "logprobs": logprobs or None,
    }


# --- several prompts -----------------------------------------------------------------------------


async def test_the_choices_of_the_first_prompt_come_first(http, engine):
    answer = await complete(http, prompt=["a", "b"], n=2, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [each.prompt for each in engine.submitted] == ["a", "a", "b", "b"]
    # The seeds do not depend on what else is asked.
    assert [each.sampling.seed for each in engine.submitted] == [5, 6, 5, 6]


async def test_a_prompt_counts_once_in_the_usage_and_all_prompts_count(http):
    usage = (await complete(http, prompt=[[1], [2], [3]], n=2))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (30, 12)
    assert usage["total_tokens"] == 42
    assert usage["prompt_tokens_details"]["cached_tokens"] == 9


async def test_several_prompts_stream_with_their_indexes(http):
    choices = await stream(http, prompt=["a", "b"], n=2, echo=True)
    texts = [joined(choices, index)["text"] for index in range(4)]
    assert texts == ["aHello world"] * 2 + ["bHello world"] * 2


async def test_more_prompts_than_could_ever_run_are_a_400(http, engine):
    engine.capacity = 5
    answer = await http.post("/v1/completions", json={"prompt": ["a", "b", "c"], "n": 2})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "prompt"
    assert "n=2 for each of 3 prompts" in error["message"]
    assert not engine.submitted


async def test_prompts_for_which_there_are_too_few_places_run_none_of_them(http, engine):
    engine.pieces = None
    engine.free_places = 2
    answer = await http.post("/v1/completions", json={"prompt": ["a", "b", "c"]})
    assert answer.status_code == 429
    assert answer.json()["error"]["param"] == "prompt"
    assert [each.cancelled for each in engine.submitted] == [True, True]


async def test_the_prompt_that_the_engine_refuses_is_named(http, engine):
    engine.rejection = ContextLengthExceeded("it has 5000 tokens")
    answer = await http.post("/v1/completions", json={"prompt": ["a", "b"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt[0]"
    assert answer.json()["error"]["message"] == "prompt[0]: it has 5000 tokens"


# --- echo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["hi", [104, 105]])
async def test_an_echo_comes_before_the_answer(http, engine, prompt):
    answer = await complete(http, prompt=prompt, echo=True)
    assert answer["choices"][0]["text"] == "hiHello world"
    assert answer["choices"][0]["logprobs"] is None
    assert joined(await stream(http, prompt=prompt, echo=True)) == answer["choices"][0]
    assert not engine.submitted[0].prompt_logprobs


async def test_an_echo_of_unknown_tokens_is_a_400_that_names_the_prompt(http, engine):
    answer = await http.post("/v1/completions", json={"prompt": [FACTS.vocab_size], "echo": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"
    assert not engine.submitted


@pytest.mark.parametrize("logprobs", [None, 1])
async def test_an_echo_of_no_new_tokens_is_the_prompt(http, engine, logprobs):
    body = {"prompt": "hi", "echo": True, "max_tokens": 0, "logprobs": logprobs}
    choice = (await complete(http, **body))["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("hi", "length")
    assert engine.submitted[0].max_tokens == 0
    assert joined(await stream(http, **body)) == choice


# --- log-probabilities ---------------------------------------------------------------------------


async def test_logprobs_are_lists_with_an_item_for_each_token(http, engine):
    engine.pieces = ["He", "llo"]
    choice = (await complete(http, prompt="x", logprobs=2))["choices"][0]
    assert choice["logprobs"] == {
        "tokens": ["He", "llo"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"He": -0.5, "#1": -2.0}, {"llo": -0.5, "#1": -2.0}],
        "text_offset": [0, 2],
    }
    assert engine.submitted[0].sampling.num_logprobs == 2
    assert not engine.submitted[0].prompt_logprobs


async def test_no_alternatives_still_show_the_chosen_token(http):
    choice = (await complete(http, prompt="x", logprobs=0))["choices"][0]
    assert choice["logprobs"]["top_logprobs"] == [{"Hello": -0.5}, {" world": -0.5}]


async def test_a_stream_with_logprobs_makes_the_same_answer(http, engine):
    engine.pieces = ["é", "日本", "x"]
    for body in ({"prompt": "hü"}, {"prompt": "hü", "echo": True}):
        whole = (await complete(http, **body, logprobs=2))["choices"][0]
        assert joined(await stream(http, **body, logprobs=2)) == whole


async def test_tokens_that_are_no_whole_characters_are_bytes(http, engine):
    llama = "🦙".encode()
    engine.pieces = ["a", llama[:2], llama[2:], "b"]
    logprobs = (await complete(http, prompt="x", logprobs=0))["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "bytes:\\xf0\\x9f", "bytes:\\xa6\\x99", "b"]
    assert logprobs["text_offset"] == [0, 1, 1, 2]


async def test_a_token_without_text_of_its_own_is_an_event_of_its_own(http, accepting):
    body = {"prompt": "x", "logprobs": 0, "stream": True}
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        generation = accepting.submitted[0].generation
        lines = answer.aiter_lines()
        generation.add("", 1, 0.0, [scored(b"\xf0")])
        event = json.loads((await anext(lines)).removeprefix("data: "))
        assert event["choices"][0]["text"] == ""
        assert event["choices"][0]["logprobs"]["tokens"] == ["bytes:\\xf0"]


async def test_stop_strings_go_to_the_engine_with_logprobs_too(http, engine):
    await complete(http, prompt="x", logprobs=1, stop=["\n"])
    assert engine.submitted[0].stop == ("\n",)


async def test_offsets_begin_where_the_echoed_text_does_whatever_the_tokenizer_adds(http, engine):
    engine.bos = "<s>"
    choice = (await complete(http, prompt="hi", echo=True, logprobs=0))["choices"][0]
    assert choice["text"] == "hiHello world"
    assert choice["logprobs"]["tokens"] == ["<s>", "h", "i", "Hello", " world"]
    assert choice["logprobs"]["text_offset"] == [0, 0, 1, 2, 7]


async def test_what_is_impossible_is_very_unlikely(http, accepting):
    body = {"prompt": "x", "logprobs": 0, "stream": True}
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        generation = accepting.submitted[0].generation
        generation.add("x", 1, 0.0, [scored("x", float("-inf"))])
        generation.finish("stop")
        choices = [event["choices"][0] for event in events_of((await answer.aread()).decode())]
    assert choices[0]["logprobs"]["token_logprobs"] == [-9999.0]


# --- lm-evaluation-harness -----------------------------------------------------------------------


def request_of_the_harness(prompts: list[list[int]]) -> dict[str, Any]:
    """What its ``local-completions`` sends for log-likelihoods."""
    return {
        "model": MODEL_NAME, "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True,
    }  # fmt: skip


def likelihoods_by_the_harness(answer: Any, context_lengths: list[int]) -> list[tuple[float, bool]]:
    """As it reads the answer: what is between the context and the one generated token."""
    found = []
    choices = sorted(answer["choices"], key=itemgetter("index"))
    for choice, length in zip(choices, context_lengths, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][length:-1]
        top = choice["logprobs"]["top_logprobs"][length:-1]
        is_greedy = all(
            logprob == max(each.values()) for logprob, each in zip(logprobs, top, strict=True)
        )
        found.append((sum(logprobs), is_greedy))
    return found


@pytest.mark.parametrize("generated", ["!", ""])  # the end of the answer is a token, too
async def test_the_evaluation_harness_gets_its_likelihoods(http, engine, generated):
    engine.pieces = [generated]
    answer = await complete(http, **request_of_the_harness([list(b"abcd"), list(b"xy")]))
    # The fake gives the token at position p the log-probability -p / 4; the likeliest have -0.5.
    assert likelihoods_by_the_harness(answer, [2, 1]) == [(-0.5 - 0.75, False), (-0.25, True)]


async def test_the_harness_asks_the_engine_to_score_the_prompt(http, engine):
    engine.pieces = ["!"]
    await complete(http, **request_of_the_harness([list(b"abcd")]))
    [submitted] = engine.submitted
    assert submitted.prompt == tuple(b"abcd")
    assert (submitted.max_tokens, submitted.prompt_logprobs) == (1, True)
    assert (submitted.sampling.temperature, submitted.sampling.num_logprobs) == (0, 1)
