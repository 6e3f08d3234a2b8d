"""The harness as its users start it: log-likelihoods of given texts, on a task made here."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import MODEL, Run
from tests.e2e.conftest import ServerUnderTest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUESTIONS = [
    {"question": "The capital of France is", "options": ["Paris", "banana"], "right": 0},
    {"question": "One, two, three,", "options": ["purple", "four"], "right": 1},
    {"question": "The sun rises in the", "options": ["east", "spoon"], "right": 0},
]
CHOICES = """
task: tiny_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: right
doc_to_choice: options
metric_list: [{{metric: acc}}]
"""
ANSWERS = """
task: tiny_answers
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{options[right]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def evaluated(
    server: ServerUnderTest, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The harness's report and its samples, by task."""
    directory = tmp_path_factory.mktemp("tasks")
    data = directory / "data.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    for name, task in {"choices": CHOICES, "answers": ANSWERS}.items():
        (directory / f"{name}.yaml").write_text(task.format(data=data))
    where = f"base_url={server.url}/v1/completions,model={MODEL},num_concurrent=2,max_retries=1"
    asked = ("--model", "local-completions", "--model_args", where, "--log_samples")
    given = ("--tasks", "tiny_choices,tiny_answers", "--include_path", str(directory))
    run("lm-eval", "lm_eval", *asked, *given, "--output_path", str(directory / "out"))
    return _read(directory / "out")


def _read(output: Path) -> dict[str, Any]:
    (report,) = output.rglob("results_*.json")
    found: dict[str, Any] = {"results": json.loads(report.read_text())["results"]}
    for task in ("tiny_choices", "tiny_answers"):
        (samples,) = output.rglob(f"samples_{task}_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        found[task] = sorted(lines, key=lambda line: int(line["doc_id"]))
    return found


def log_likelihood(server: ServerUnderTest, context: str, text: str) -> float:
    """By plain HTTP, of the text's own tokens."""
    ids = [
        server.post("tokenize", content=part).json()["tokens"] for part in (context, context + text)
    ]
    assert ids[1][: len(ids[0])] == ids[0]
    body = {"prompt": ids[1], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    logprobs = server.post("v1/completions", **body).json()["choices"][0]["logprobs"]
    return math.fsum(logprobs["token_logprobs"][len(ids[0]) : len(ids[1])])


def test_sensible_continuations_are_likelier(evaluated: dict[str, Any]) -> None:
    assert evaluated["results"]["tiny_choices"]["acc,none"] == 1.0


def test_each_log_likelihood_is_that_of_the_continuation(
    evaluated: dict[str, Any], server: ServerUnderTest
) -> None:
    for sample, asked in zip(evaluated["tiny_choices"], QUESTIONS, strict=True):
        got = [float(response[0][0]) for response in sample["resps"]]
        expected = [
            log_likelihood(server, str(asked["question"]), f" {option}")
            for option in asked["options"]  # type: ignore[attr-defined]
        ]
        assert got == pytest.approx(expected, abs=1e-3)


def test_generations_are_what_plain_http_gets(
    evaluated: dict[str, Any], server: ServerUnderTest
) -> None:
    for sample, asked in zip(evaluated["tiny_answers"], QUESTIONS, strict=True):
        body = {"max_tokens": 8, "temperature": 0, "stop": ["\n"]}
        plain = server.post("v1/completions", prompt=asked["question"], **body)
        assert sample["resps"] == [[plain.json()["choices"][0]["text"]]]
