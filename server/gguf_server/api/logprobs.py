"""Log-probabilities in the two shapes of OpenAI."""

import codecs
from collections.abc import Iterable, Sequence

from msgspec import Struct

from gguf_server.wire.messages import TokenLogprob

_VERY_UNLIKELY = -9999.0  # OpenAI's; JSON has no infinity
_decoder = codecs.getincrementaldecoder("utf-8")


# --- chat ----------------------------------------------------------------------------------------


class TopLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct, frozen=True):
    content: list[TokenLogprobs]
    refusal: None = None


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> ChatLogprobs:
    return ChatLogprobs(
        [
            TokenLogprobs(
                _escaped(each.piece),
                _finite(each.logprob),
                list(each.piece),
                [
                    TopLogprob(_escaped(top.piece), _finite(top.logprob), list(top.piece))
                    for top in each.likeliest
                ],
            )
            for each in tokens
        ]
    )


# --- text ----------------------------------------------------------------------------------------


class TextLogprobs(Struct, frozen=True):
    """Lists with an item for each token; None for the first of a prompt, which nothing precedes."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextLogprobsWriter:
    """Writes the tokens of one text in turn, as it knows how far into the text they are."""

    def __init__(self) -> None:
        self._num_characters = 0
        self._decoder = _decoder("replace")

    def prompt(self, tokens: Sequence[TokenLogprob], text: str) -> TextLogprobs:
        """``text`` lacks what the tokenizer put before it: BOS, in some vocabularies a space."""
        num_extra_bytes = sum(len(each.piece) for each in tokens) - len(text.encode())
        return self._write(tokens, max(0, num_extra_bytes))

    def answer(self, tokens: Sequence[TokenLogprob]) -> TextLogprobs:
        return self._write(tokens, 0)

    def _write(self, tokens: Sequence[TokenLogprob], num_extra_bytes: int) -> TextLogprobs:
        offsets = []
        for each in tokens:
            offsets.append(self._num_characters)
            self._num_characters += len(self._decoder.decode(each.piece[num_extra_bytes:]))
            num_extra_bytes = max(0, num_extra_bytes - len(each.piece))
        return TextLogprobs(
            [_named(each.piece) for each in tokens],
            [None if each.logprob is None else _finite(each.logprob) for each in tokens],
            [_top(each) for each in tokens],
            offsets,
        )


def joined(parts: Sequence[TextLogprobs]) -> TextLogprobs:
    return TextLogprobs(
        [token for part in parts for token in part.tokens],
        [logprob for part in parts for logprob in part.token_logprobs],
        [top for part in parts for top in part.top_logprobs],
        [offset for part in parts for offset in part.text_offset],
    )


def _top(token: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens, and the one that was chosen. Of tokens that look alike the likelier."""
    if token.logprob is None:
        return None
    top: dict[str, float] = {}
    for each in token.likeliest:
        top.setdefault(_named(each.piece), _finite(each.logprob))
    top.setdefault(_named(token.piece), _finite(token.logprob))
    return top


# --- both ----------------------------------------------------------------------------------------


def _finite(logprob: float | None) -> float:
    return _VERY_UNLIKELY if logprob is None else max(logprob, _VERY_UNLIKELY)


def _escaped(piece: bytes) -> str:
    """Bytes that are no whole characters as \\xe2\\x80."""
    return piece.decode("utf-8", "backslashreplace")


def _named(piece: bytes) -> str:
    """The same in completions, where OpenAI marks them."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return f"bytes:{_escaped(piece)}"
