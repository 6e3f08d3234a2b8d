"""Text and tokens of the real model."""

import pytest

from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.vocabulary import LlamaVocabulary


@pytest.fixture(scope="module")
def vocabulary(any_layout: LlamaModel) -> LlamaVocabulary:
    return any_layout.vocabulary


@pytest.mark.parametrize("text", ["Hello, world", "", " two  spaces\n", "naïve 🦙 漢字", "a\0b"])
def test_text_comes_back_from_its_tokens(vocabulary: LlamaVocabulary, text: str):
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=False)
    assert b"".join(map(vocabulary.piece, tokens)).decode() == text


def test_special_tokens_are_recognised_only_when_asked_for(vocabulary: LlamaVocabulary):
    text = "<|im_end|>"
    special = vocabulary.tokenize(text, add_special=False, parse_special=True)
    plain = vocabulary.tokenize(text, add_special=False, parse_special=False)
    assert len(special) == 1
    assert len(plain) > 1
    assert vocabulary.piece(special[0]) == b""
    assert vocabulary.is_end(special[0])
    assert not any(map(vocabulary.is_end, plain))


def test_a_prompt_longer_than_the_first_guess_is_tokenized_whole(vocabulary: LlamaVocabulary):
    text = "word " * 20_000
    tokens = vocabulary.tokenize(text, add_special=True, parse_special=True)
    assert b"".join(map(vocabulary.piece, tokens)).decode() == text


def test_half_a_surrogate_pair_is_replaced_instead_of_failing(vocabulary: LlamaVocabulary):
    tokens = vocabulary.tokenize("a\ud83db", add_special=False, parse_special=False)
    assert b"".join(map(vocabulary.piece, tokens)) == b"a?b"


def test_a_token_is_in_the_vocabulary_or_not(vocabulary: LlamaVocabulary):
    assert 0 in vocabulary
    assert len(vocabulary) - 1 in vocabulary
    assert len(vocabulary) not in vocabulary
    assert -1 not in vocabulary


def test_the_names_of_the_special_tokens(vocabulary: LlamaVocabulary):
    assert vocabulary.bos_text == "<|im_start|>"
    assert vocabulary.eos_text == "<|im_end|>"


def test_special_tokens_are_those_that_llguidance_takes_for_special(vocabulary: LlamaVocabulary):
    tokenizer = vocabulary.guidance_tokenizer()
    marked = {token for token in range(len(vocabulary)) if tokenizer.is_special_token(token)}
    assert set(vocabulary.special_tokens.values()) == marked
    assert vocabulary.special_tokens["<|im_start|>"] == 1


def test_bos_is_added_once_even_if_the_text_has_it(load_model, tiny):
    vocabulary = load_model(model_path=str(tiny("mixture"))).vocabulary
    bare = vocabulary.tokenize("the cat", add_special=True, parse_special=True)
    assert bare[0] == 1
    assert bare.count(1) == 1
    assert vocabulary.tokenize("<s>the cat", add_special=True, parse_special=True) == bare
    assert vocabulary.tokenize("the cat", add_special=False, parse_special=True) == bare[1:]


@pytest.mark.parametrize(
    "text", ["Hello world. " * 50, "<|im_start|>user\n<|im_end|>\n" * 30, " " * 300, "a", "é€" * 40]
)
def test_the_quick_count_is_never_more_than_the_tokens_there_are(vocabulary, text):
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=True)
    assert 0 <= vocabulary.fewest_tokens(text) <= len(tokens)


def test_the_quick_count_sees_every_special_token(vocabulary):
    assert vocabulary.fewest_tokens("<|im_start|>" * 1000) == 1000


@pytest.mark.parametrize("text", [" " * 9000, "€" * 9000, "the " * 9, "[MASK]" * 20])
def test_the_quick_count_knows_that_wordpiece_drops_spaces_and_unknown_words(
    load_model, tiny, text
):
    vocabulary = load_model(model_path=str(tiny("bert"))).vocabulary
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=True)
    assert vocabulary.fewest_tokens(text) <= len(tokens)
