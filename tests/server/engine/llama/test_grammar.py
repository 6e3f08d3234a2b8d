"""Constrained output: whatever the model prefers, the text obeys; what cannot be is refused."""

import json
import re
from collections.abc import Iterator

import numpy as np
import pytest

from gguf_server.engine.llama.grammar import LlamaGrammars
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.sampler import TokenSampler
from gguf_server.errors import InvalidRequest
from gguf_server.wire.messages import Constraint, SamplingParams

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def grammars(any_layout: LlamaModel) -> Iterator[LlamaGrammars]:
    made = LlamaGrammars(any_layout.vocabulary, num_threads=1)
    yield made
    made.close()


def schema(value: object) -> Constraint:
    return Constraint("json_schema", json.dumps(value), "response_format")


def write(
    model: LlamaModel, grammars: LlamaGrammars, constraint: Constraint, seed: int, **params
) -> str | None:
    """What a model that prefers random tokens writes; None if it was not done after 300."""
    vocabulary = model.vocabulary
    random = np.random.default_rng(seed)
    given = SamplingParams(**{"temperature": 1.0, "seed": seed, **params})
    sampler = TokenSampler(given, (), vocabulary.end_tokens, grammars.compile(constraint))
    scratch = np.empty(len(vocabulary), np.float32)
    text = b""
    for _ in range(300):
        token = sampler.choose(random.normal(0, 3, len(vocabulary)).astype(np.float32), scratch)
        text += vocabulary.piece(token)
        if sampler.is_complete or vocabulary.is_end(token):
            return text.decode()
    return None


@pytest.mark.parametrize("seed", range(8))
def test_random_preferences_still_make_json_of_the_schema(
    any_layout: LlamaModel, grammars: LlamaGrammars, seed: int
) -> None:
    text = write(any_layout, grammars, schema(SCHEMA), seed)
    if text is None:
        return  # an integer may be as long as it likes
    found = json.loads(text)
    assert set(found) == {"name", "age"}
    assert isinstance(found["name"], str)
    assert len(found["name"]) <= 12
    assert isinstance(found["age"], int)


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint("gbnf", 'root ::= "yes" | "no"', "grammar"), "yes|no"),
        (Constraint("gbnf", 'root ::= item ("," item)*\nitem ::= [a-c] [0-9]{2}', "grammar"),
         r"[a-c]\d\d(,[a-c]\d\d)*"),
        (Constraint("lark", "start: /[A-Z][a-z]{3}/", "tools"), "[A-Z][a-z]{3}"),
    ],
)  # fmt: skip
def test_random_preferences_still_follow_a_grammar(
    any_layout: LlamaModel, grammars: LlamaGrammars, constraint: Constraint, pattern: str
) -> None:
    for seed in range(5):
        text = write(any_layout, grammars, constraint, seed)
        assert text is not None
        assert re.fullmatch(pattern, text)


def test_a_complete_output_ends_without_an_end_token(
    any_layout: LlamaModel, grammars: LlamaGrammars
) -> None:
    constraint = Constraint("gbnf", 'root ::= "yes"', "grammar")
    assert write(any_layout, grammars, constraint, 1, ignore_eos=True) == "yes"


def test_a_bias_and_a_greedy_choice_stay_within_the_grammar(
    any_layout: LlamaModel, grammars: LlamaGrammars
) -> None:
    constraint = Constraint("gbnf", 'root ::= "no"', "grammar")
    biased = {"temperature": 0.0, "logit_bias": {500: 100.0}, "repeat_penalty": 2.0}
    assert write(any_layout, grammars, constraint, 1, **biased) == "no"


def test_a_constraint_that_grows_too_complex_fails_its_own_request_in_one_line(
    any_layout: LlamaModel, grammars: LlamaGrammars
) -> None:
    with pytest.raises(InvalidRequest, match="too many expressions") as caught:
        write(
            any_layout,
            grammars,
            schema({"type": "string", "pattern": r"[\s\S]{0,100000}x"}),
            seed=1,
        )
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "keyword",
    [{"uniqueItems": True}, {"not": {"type": "null"}}, {"oneOf": [{}, {"type": "array"}]}],
)
def test_a_keyword_that_cannot_be_enforced_is_refused_unless_the_schema_is_lenient(
    grammars: LlamaGrammars, keyword: dict[str, object]
) -> None:
    lenient = {"x-guidance": {"lenient": True, "coerce_one_of": True}}
    grammars.compile(schema({"type": "array", **keyword, **lenient}))
    with pytest.raises(InvalidRequest):
        grammars.compile(schema({"type": "array", **keyword}))


def test_a_grammar_that_would_take_long_for_each_token_is_refused_or_fails(
    any_layout: LlamaModel, grammars: LlamaGrammars
) -> None:
    ambiguous = Constraint("gbnf", "root ::= s\ns ::= s s s | [a-z ]", "grammar")
    with pytest.raises(InvalidRequest, match="Too many items"):
        write(any_layout, grammars, ambiguous, seed=1)


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (schema({"type": "integer", "minimum": 5, "maximum": 3}), "Unsatisfiable"),
        (schema({"type": "strange"}), "strange"),
        (schema(False), "object"),
        (schema([1]), "JSON schema"),
        (schema({"$ref": "http://elsewhere/x"}), "http://elsewhere/x"),
        (schema({"type": "string", "not": {"const": "a"}}), "not"),
        (Constraint("json_schema", "{", "response_format"), "JSON schema"),
        (Constraint("gbnf", "root ::= undefined", "grammar"), "undefined"),
        (Constraint("gbnf", "root ::=" + "(" * 5000, "grammar"), "grammar"),
        (Constraint("gbnf", '%llguidance {}\nstart: "a"', "grammar"), "grammar"),
        (Constraint("lark", "start: nothing", "tools"), "nothing"),
    ],
)
def test_what_is_malformed_or_impossible_is_refused_in_one_line_that_names_the_field(
    grammars: LlamaGrammars, constraint: Constraint, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        grammars.compile(constraint)
    assert caught.value.param == constraint.param
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
