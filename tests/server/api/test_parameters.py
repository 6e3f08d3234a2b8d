"""Every parameter is used, known to have no effect, or refused by name; nothing else happens."""

import pytest

from gguf_server.errors import UnsupportedParameter
from gguf_server.wire.messages import SamplingParams
from tests.server.api.requests import assert_refused, chat, complete, refusal


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
        {"return_token_ids": False},
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
        (chat, {"top_k": -2}, "top_k", "greater than or equal to -1"),
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
        (chat, {"top_logprobs": 21, "logprobs": True}, "top_logprobs", "less than or equal to 20"),
        (chat, {"top_logprobs": 1}, "top_logprobs", "logprobs: true"),
        (chat, {"logprobs": 1}, "logprobs", "boolean"),
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
    assert_refused(build, parameters, param, hint)


def test_a_hostile_name_cannot_break_the_line():
    error = refusal(chat, **{"a\nb" + "x" * 10_000: 1})
    assert "\n" not in error.message
    assert len(error.message) < 300


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


def test_how_many_logprobs_there_are():
    assert chat().sampling(0).num_logprobs is None
    assert chat(logprobs=True).sampling(0).num_logprobs == 0
    assert chat(logprobs=True, top_logprobs=20).sampling(0).num_logprobs == 20
    assert complete(logprobs=0).sampling(0).num_logprobs == 0
    assert complete(logprobs=5).sampling(0).num_logprobs == 5


def test_zero_tokens_are_a_limit_like_any_other():
    assert complete(max_tokens=0, echo=True).token_limit == 0
    assert chat(max_completion_tokens=3).token_limit == 3
