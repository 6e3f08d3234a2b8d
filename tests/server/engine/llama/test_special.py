"""A text cut at its special tokens has the tokens that it has as a whole."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.engine.llama import special, vocabulary
from gguf_server.engine.llama.model import load
from gguf_server.engine.llama.special import SpecialTokens, one_of
from gguf_server.engine.llama.vocabulary import LlamaVocabulary
from gguf_server.wire.messages import EngineConfig

WHITESPACE = b" \t\n\v\f\r"


@dataclass(frozen=True)
class Special:
    text: bytes
    strips_left: bool
    strips_right: bool


def partition(text: bytes, tokens: list[Special]) -> list[bytes | Special]:
    """What llama.cpp's ``tokenizer_st_partition`` does, a spelling after the other."""
    fragments: list[bytes | Special] = [text] if text else []
    for token in tokens:
        found: list[bytes | Special] = []
        for fragment in fragments:
            rest = fragment
            while isinstance(rest, bytes) and token.text in rest:
                left, _, rest = rest.partition(token.text)
                left = left.rstrip(WHITESPACE) if token.strips_left else left
                rest = rest.lstrip(WHITESPACE) if token.strips_right else rest
                found += [left, token]
            found.append(rest)
        fragments = [fragment for fragment in found if fragment != b""]
    return fragments


@st.composite
def vocabularies(draw: st.DrawFn) -> list[Special]:
    """In llama.cpp's order: the longest first, those of one length in any order."""
    texts = draw(st.lists(st.text("ab< ", min_size=1, max_size=4), min_size=1, unique=True))
    strips = draw(st.booleans())
    flag = st.booleans() if strips else st.just(value=False)
    tokens = [Special(text.encode(), draw(flag), draw(flag)) for text in texts]
    return sorted(draw(st.permutations(tokens)), key=lambda token: -len(token.text))


@settings(max_examples=500)
@given(vocabularies(), st.text("ab< x", max_size=60))
def test_a_cut_is_where_the_fragments_of_the_whole_end(tokens: list[Special], text: str) -> None:
    strips = any(token.strips_left or token.strips_right for token in tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(special, "_PART_BYTES", 3)
        parts = SpecialTokens([each.text for each in tokens], strips=strips).parts(text.encode())
    assert b"".join(parts) == text.encode()
    in_parts = [fragment for part in parts for fragment in partition(part, tokens)]
    assert in_parts == partition(text.encode(), tokens)


@given(st.sets(st.text("ab<", min_size=1, max_size=5)), st.text("ab<", max_size=30))
def test_the_pattern_finds_the_longest_of_its_texts(texts: set[str], text: str) -> None:
    spelled = [each.encode() for each in texts]
    simple = b"|".join(re.escape(each) for each in sorted(spelled, key=len, reverse=True))
    expected = re.findall(simple or b"(?!)", text.encode())
    assert re.findall(one_of(sorted(spelled)) or b"(?!)", text.encode()) == expected


PIECES = ["<|im_start|>", "<|im_end|>", "<|im_", "<s>", "</s>", "<unk>", "<", ">", "|", "s"]
WORDS = [" ", "  ", "\n", "the cat", " sat", "é", "🦙", "a", "0"]


@pytest.fixture(scope="module", params=["smollm2", "mixture"])
def any_vocabulary(request, smollm2, tiny) -> Iterator[LlamaVocabulary]:
    path = smollm2 if request.param == "smollm2" else tiny(request.param)
    config = EngineConfig(model_path=str(path), context_tokens=64, slots=1)
    model = load(config, lambda _stage, _fraction: None, sink=lambda _level, _line: None)
    yield model.vocabulary
    model.close()


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.sampled_from(PIECES + WORDS), max_size=40),
    add_special=st.booleans(),
    parse_special=st.booleans(),
)
def test_a_text_in_parts_has_the_tokens_of_the_whole(
    any_vocabulary: LlamaVocabulary, words: list[str], *, add_special: bool, parse_special: bool
) -> None:
    text = "".join(words)
    options = {"add_special": add_special, "parse_special": parse_special}
    whole = any_vocabulary.tokenize(text, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_LONG_BYTES", 0)
        patch.setattr(special, "_PART_BYTES", 8)
        assert any_vocabulary.tokenize(text, **options) == whole


def test_the_time_for_special_tokens_grows_with_their_number_and_not_with_its_square(
    any_vocabulary: LlamaVocabulary,
) -> None:
    def seconds(count: int) -> float:
        began = time.process_time()
        any_vocabulary.tokenize(
            any_vocabulary.eos_text * count, add_special=False, parse_special=True
        )
        return time.process_time() - began

    seconds(3000)  # what is computed once
    assert seconds(60_000) < 100 * seconds(3000), "20 times as many: 20 and not 400 times the time"
