"""Requests are checked before they reach the step loop; questions never reach it."""

import time
from dataclasses import dataclass, field

import pytest

from gguf_server.engine.embedder import NewEmbedding
from gguf_server.engine.generator import NewSequence
from gguf_server.engine.intake import Intake
from gguf_server.engine.loop import Command
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Constraint,
    Detokenize,
    Detokenized,
    Embed,
    FromEngine,
    Rejected,
    SamplingParams,
    Submit,
    Tokenize,
    Tokenized,
)
from tests.fakes import VOCABULARY_SIZE, FakeGrammars, FakeVectorRunner, FakeVocabulary, text_of

CONTEXT = 32


@dataclass
class Both:
    """What was sent back and what was passed on, in one order."""

    log: list[FromEngine | Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.intake = Intake(
            FakeVocabulary(), FakeGrammars(), CONTEXT, self.log.append, self.log.append
        )

    def wait(self, count: int) -> None:
        """Constraints are compiled in another thread."""
        deadline = time.monotonic() + 60
        while len(self.log) < count:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def refusal(self, submit: Submit | Embed) -> Rejected:
        self.intake.take(submit)
        self.wait(1)
        [answer] = self.log
        assert isinstance(answer, Rejected)
        assert answer.id == submit.id
        return answer


def test_a_valid_request_is_accepted_before_the_loop_can_answer_it() -> None:
    both = Both()
    submit = Submit(id=7, prompt=text_of([1, 2, 3]))
    both.intake.take(submit)
    assert both.log == [Accepted(7, 3), NewSequence(submit, [1, 2, 3])]


def test_token_ids_are_taken_as_they_are() -> None:
    both = Both()
    both.intake.take(Submit(id=7, prompt=(5, 0, 255)))
    accepted, new = both.log
    assert accepted == Accepted(7, 3)
    assert isinstance(new, NewSequence)
    assert new.tokens == [5, 0, 255]


@pytest.mark.parametrize("prompt", ["", ()])
def test_a_prompt_without_tokens_is_refused(prompt: str | tuple[int, ...]) -> None:
    refusal = Both().refusal(Submit(id=1, prompt=prompt))
    assert refusal.code == "invalid_request"
    assert "empty" in refusal.message


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 1, 12345])
def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused_with_both_numbers(
    length: int,
) -> None:
    refusal = Both().refusal(Submit(id=1, prompt=(1,) * length))
    assert refusal.code == "context_length_exceeded"
    assert str(length) in refusal.message
    assert str(CONTEXT) in refusal.message


def test_a_prompt_that_leaves_room_for_one_token_is_accepted() -> None:
    both = Both()
    both.intake.take(Submit(id=1, prompt=(1,) * (CONTEXT - 1)))
    assert both.log[0] == Accepted(1, CONTEXT - 1)


@pytest.mark.parametrize("bad", [VOCABULARY_SIZE, -1, 2**31])
def test_a_prompt_token_outside_the_vocabulary_is_refused_by_its_number(bad: int) -> None:
    refusal = Both().refusal(Submit(id=1, prompt=(1, 2, bad, 3)))
    assert refusal.code == "invalid_request"
    assert f"token {bad} " in refusal.message
    assert str(VOCABULARY_SIZE) in refusal.message


@pytest.mark.parametrize("bad", [VOCABULARY_SIZE, -1])
def test_a_biased_token_outside_the_vocabulary_is_refused_by_its_number(bad: int) -> None:
    sampling = SamplingParams(logit_bias={3: 1.0, bad: 2.0})
    refusal = Both().refusal(Submit(id=1, prompt=(1,), sampling=sampling))
    assert refusal.code == "invalid_request"
    assert f"token {bad} " in refusal.message


def test_cancellations_go_to_the_loop() -> None:
    both = Both()
    both.intake.take(Cancel(9))
    assert both.log == [Cancel(9)]


def test_questions_about_tokens_are_answered_without_the_loop() -> None:
    both = Both()
    both.intake.take(Tokenize(4, text_of([8, 9])))
    both.intake.take(Detokenize(5, (8, 9)))
    both.intake.take(Tokenize(6, ""))
    both.intake.take(Detokenize(7, ()))
    assert both.log == [
        Tokenized(4, (8, 9)),
        Detokenized(5, text_of([8, 9])),
        Tokenized(6, ()),
        Detokenized(7, ""),
    ]


def test_special_tokens_are_treated_as_the_question_says() -> None:
    asked: list[tuple[bool, bool]] = []

    class Vocabulary(FakeVocabulary):
        def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
            asked.append((add_special, parse_special))
            return [1]

    intake = Intake(
        Vocabulary(), FakeGrammars(), CONTEXT, lambda message: None, lambda command: None
    )
    intake.take(Tokenize(1, "x", add_special=False, parse_special=True))
    intake.take(Tokenize(2, "x", add_special=True, parse_special=False))
    intake.take(Submit(id=3, prompt="x"))
    assert asked == [(False, True), (True, False), (True, True)]


def test_a_prompt_sent_again_for_another_answer_is_tokenized_once() -> None:
    asked: list[str] = []

    class Vocabulary(FakeVocabulary):
        def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
            asked.append(text)
            return [1, 2]

    put: list[Command] = []
    intake = Intake(Vocabulary(), FakeGrammars(), CONTEXT, lambda message: None, put.append)
    for number, prompt in enumerate(["x", "x", "y", "x"]):
        intake.take(Submit(id=number, prompt=prompt))
    assert asked == ["x", "y", "x"]
    first, second = (new.tokens for new in put[:2] if isinstance(new, NewSequence))
    assert first == second
    assert first is not second, "each sequence appends to its own"


def test_pieces_that_are_no_utf8_are_answered_with_replacement_characters() -> None:
    class Vocabulary(FakeVocabulary):
        def piece(self, token: int) -> bytes:
            return bytes([token])

    sent: list[FromEngine] = []
    intake = Intake(Vocabulary(), FakeGrammars(), CONTEXT, sent.append, lambda command: None)
    intake.take(Detokenize(1, (0xC3, 0xA9, 0xFF)))
    assert sent == [Detokenized(1, "é\ufffd")]


def test_a_constraint_is_compiled_before_the_request_is_accepted() -> None:
    both = Both()
    constraint = Constraint("gbnf", "root ::= [a-z]", "grammar")
    submit = Submit(id=7, prompt=(1,), constraint=constraint)
    both.intake.take(submit)
    both.wait(2)
    assert both.log == [Accepted(7, 1), NewSequence(submit, [1], constraint)]


def test_a_constraint_that_cannot_be_fulfilled_is_refused_and_its_field_named() -> None:
    constraint = Constraint("json_schema", "impossible", "response_format")
    refusal = Both().refusal(Submit(id=1, prompt=(1,), constraint=constraint))
    assert refusal.code == "invalid_request"
    assert refusal.param == "response_format"
    assert "impossible" in refusal.message


def test_unknown_tokens_cannot_be_turned_into_text() -> None:
    both = Both()
    both.intake.take(Detokenize(3, (1, 999)))
    [refusal] = both.log
    assert isinstance(refusal, Rejected)
    assert (refusal.id, refusal.code) == (3, "invalid_request")
    assert "999" in refusal.message


@pytest.mark.parametrize("question", [Submit(id=1, prompt="x" * 20_000), Tokenize(1, "x" * 20_000)])
def test_a_text_that_is_far_too_long_is_refused_without_tokenizing_it(
    question: Submit | Tokenize,
) -> None:
    both = Both()

    def never(*_: object, **__: object) -> list[int]:
        pytest.fail("tokenized")

    both.intake._vocabulary.tokenize = never  # type: ignore[method-assign]
    both.intake.take(question)
    [answer] = both.log
    assert isinstance(answer, Rejected)
    assert answer.code == "context_length_exceeded"
    assert (
        "prompt is too long: it has at least 20000 tokens, the context holds 32" in answer.message
    )


# --- embeddings ------------------------------------------------------------------------------


def embedding_only() -> Both:
    both = Both()
    both.intake = Intake(
        FakeVocabulary(),
        None,
        CONTEXT,
        both.log.append,
        both.log.append,
        FakeVectorRunner(max_tokens=CONTEXT),
    )
    return both


@pytest.mark.parametrize("given", [text_of([1, 2, 3]), (1, 2, 3)])
def test_an_input_to_embed_is_passed_on_as_tokens(given: str | tuple[int, ...]) -> None:
    both = embedding_only()
    embed = Embed(id=7, input=given, dimensions=4)
    both.intake.take(embed)
    assert both.log == [NewEmbedding(embed, [1, 2, 3])]


@pytest.mark.parametrize(
    ("embed", "code", "message", "param"),
    [
        (Embed(id=1, input=""), "invalid_request", "the input is empty", "input"),
        (Embed(id=1, input=()), "invalid_request", "the input is empty", "input"),
        (Embed(id=1, input=(1, 999)), "invalid_request", "token 999 is outside", "input"),
        (Embed(id=1, input=(-1,)), "invalid_request", "token -1 is outside", "input"),
        (
            Embed(id=1, input=(1,) * 33),
            "context_length_exceeded",
            "33 tokens, an embedding is computed of at most 32",
            "input",
        ),
        (
            Embed(id=1, input="x" * 20_000),
            "context_length_exceeded",
            "at least 20000 tokens",
            None,
        ),
        (
            Embed(id=1, input=(1,), dimensions=5),
            "invalid_request",
            "dimensions is 5; this model's vectors have 4",
            "dimensions",
        ),
        (Embed(id=1, input=(1,), dimensions=0), "invalid_request", "dimensions is 0", "dimensions"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_input_that_cannot_be_embedded_is_refused_with_the_reason(
    embed: Embed, code: str, message: str, param: str | None
) -> None:
    refusal = embedding_only().refusal(embed)
    assert (refusal.code, refusal.param) == (code, param)
    assert message in refusal.message


def test_an_input_as_long_as_a_batch_is_accepted() -> None:
    both = embedding_only()
    both.intake.take(Embed(id=1, input=(1,) * CONTEXT))
    assert isinstance(both.log[0], NewEmbedding)


def test_a_chat_model_without_embeddings_says_how_to_get_them() -> None:
    refusal = Both().refusal(Embed(id=1, input="x", dimensions=99))
    assert refusal.code == "invalid_request"
    assert "--embeddings on" in refusal.message
    assert "GGUF_EMBEDDINGS=on" in refusal.message


def test_an_embedding_model_generates_nothing() -> None:
    refusal = embedding_only().refusal(Submit(id=1, prompt="x"))
    assert refusal.code == "invalid_request"
    assert "computes embeddings only" in refusal.message
