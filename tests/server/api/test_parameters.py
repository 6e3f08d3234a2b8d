"""Every parameter is used, known to have no effect, or refused by name; nothing else happens."""

import json

import pytest
from pydantic import ValidationError

from gguf_server.api.schema import ChatRequest, CompletionRequest
from gguf_server.api.validation import explain
from gguf_server.errors import InvalidRequest, RequestError, UnsupportedParameter
from gguf_server.wire.messages import SamplingParams

HI = [{"role": "user", "content": "hi"}]


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
        {"tools": []},
        {"tool_choice": "none"},
        {"parallel_tool_calls": True},
        {"response_format": {"type": "text"}},
        {"logprobs": False},
        {"modalities": ["text"]},
        {"store": False},
        {"service_tier": "auto"},
        {"user": "me", "metadata": {"a": "b"}, "safety_identifier": "x", "prompt_cache_key": "y"},
    ],
)
def test_what_asks_for_nothing_is_accepted(neutral):
    assert chat(**neutral) == chat()


@pytest.mark.parametrize("neutral", [{"best_of": 1}, {"echo": False}, {"suffix": ""}])
def test_what_asks_for_nothing_of_a_completion_is_accepted(neutral):
    assert complete(**neutral) == complete()


@pytest.mark.parametrize(
    ("build", "name", "value"),
    [
        (chat, "tools", [{"type": "function"}]),
        (chat, "tool_choice", "required"),
        (chat, "functions", [{}]),
        (chat, "response_format", {"type": "json_object"}),
        (chat, "logprobs", True),
        (chat, "top_logprobs", 3),
        (chat, "audio", {"voice": "x"}),
        (chat, "modalities", ["text", "audio"]),
        (chat, "prediction", {}),
        (chat, "reasoning_effort", "high"),
        (chat, "store", True),
        (chat, "web_search_options", {}),
        (complete, "suffix", "end"),
        (complete, "echo", True),
        (complete, "best_of", 2),
        (complete, "best_of", True),
        (complete, "logprobs", 0),
        (complete, "prompt", ["a", "b"]),
        (complete, "prompt", [[1], [2]]),
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
        ' "audio": null, "function_call": null, "tool_calls": null}'
    )
    assert chat(messages=[dumped]).messages[0].as_data() == {"role": "assistant", "content": "x"}


def test_a_single_prompt_in_a_list_is_that_prompt():
    assert complete(prompt=["hi"]) == complete(prompt="hi")
    assert complete(prompt=[1, 2]).prompt == (1, 2)
    assert complete(prompt=[[1, 2]]).prompt == (1, 2)
