"""Masks over the vocabulary from JSON schemas and grammars; llguidance does the work.

A mask takes it a fraction of a millisecond without the GIL. It is computed in a thread of its own,
while the model computes the logits that it will be applied to.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from gguf_server.engine.llama.truncation import Row
from gguf_server.engine.llama.vocabulary import LlamaVocabulary
from gguf_server.errors import InvalidRequest
from gguf_server.wire.messages import Constraint

Mask = npt.NDArray[np.bool_]

# As llama.cpp's own grammars: room for indentation, none for a model that writes only blanks.
_JSON_OPTIONS: Any = {"whitespace_pattern": r"( |\n[ \t]{0,20})?"}
_MAX_REASON_CHARACTERS = 300


class MatcherGrammar:
    """The state of one output. An edit of its logits like a penalty, the last one of a row."""

    def __init__(
        self,
        constraint: Constraint,
        matcher: LLMatcher,
        vocab_size: int,
        masks: ThreadPoolExecutor,
    ) -> None:
        self.is_complete = False
        self._constraint = constraint
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._masks = masks
        self._bits = np.zeros(-(-vocab_size // 32), np.int32)
        self._next: Future[Mask] = masks.submit(self._forbidden)

    def apply(self, row: Row) -> None:
        """Leave only what may come next."""
        np.copyto(row, -np.inf, where=self._next.result())

    def accept(self, token: int) -> None:
        """Raises ``InvalidRequest`` when the constraint grows too complex to be followed."""
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise _refusal(self._constraint, self._matcher.get_error())
        self.is_complete = self._matcher.is_stopped()
        if not self.is_complete:
            self._next = self._masks.submit(self._forbidden)

    def _forbidden(self) -> Mask:
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        forbidden: Mask = allowed[: self._vocab_size] == 0
        return forbidden


class LlamaGrammars:
    """Implements ``engine.runner.Grammars``. Made ready by the first constraint that comes."""

    def __init__(self, vocabulary: LlamaVocabulary, num_threads: int) -> None:
        self._vocabulary = vocabulary
        self._masks = ThreadPoolExecutor(num_threads, thread_name_prefix="masks")

    def compile(self, constraint: Constraint) -> MatcherGrammar:
        try:
            grammar = _grammar(constraint)
        except (ValueError, RecursionError) as exc:
            raise _refusal(constraint, str(exc)) from exc
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise _refusal(constraint, matcher.get_error())
        return MatcherGrammar(constraint, matcher, len(self._vocabulary), self._masks)

    def close(self) -> None:
        self._masks.shutdown()

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        return self._vocabulary.guidance_tokenizer()


def _grammar(constraint: Constraint) -> str:
    match constraint.kind:
        case "json_schema":
            return LLMatcher.grammar_from_json_schema(constraint.text, defaults=_JSON_OPTIONS)
        case "gbnf":
            return LLMatcher.grammar_from_lark(_lark(constraint.text))
        case "lark":
            return LLMatcher.grammar_from_lark(constraint.text)


def _lark(gbnf: str) -> str:
    """Not by ``grammar_from``: that takes Lark for GBNF too, in which much more can be said."""
    try:
        return gbnf_to_lark(gbnf)
    except Exception as exc:  # it raises nothing more exact
        raise ValueError(exc) from exc


def _refusal(constraint: Constraint, reason: str) -> InvalidRequest:
    noun = "JSON schema" if constraint.kind == "json_schema" else "grammar"
    # Further lines draw a picture, or dump the state of the parser.
    short = next(iter(reason.splitlines()), "")[:_MAX_REASON_CHARACTERS]
    return InvalidRequest(f"the {noun} cannot be used: {short}", param=constraint.param)
