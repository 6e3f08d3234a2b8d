"""A vocabulary of bytes and a few longer tokens, for trying grammars without a model."""

import random
from collections.abc import Sequence
from functools import lru_cache

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

END = 255  # a byte that no UTF-8 text has
_LIKELY = frozenset(b'"}]<')
# Tokens that cross the borders between a notation's marks, JSON and its strings.
_LONGER = (
    b'{"',
    b'"}',
    b"}}",
    b'"}}',
    b"}\n",
    b'": ',
    b'": "',
    b'", "',
    b"\n</",
    b"\n<tool",
    b"_call>",
    b"<think",
    b">\n{",
    b"}</",
    b'""',
    b"{}",
    b"json<|",
    b"}[",
    b"|>{",
    b"; {",
    b"}; ",
    b"[{",
)


class _Bytes:
    """What llguidance asks of a tokenizer."""

    eos_token_id = END
    bos_token_id = None

    def __init__(self, special: Sequence[str]) -> None:
        self.tokens = [bytes([byte]) for byte in range(END)]
        self.tokens += [b"\xff" + text.encode() for text in ("<|eos|>", *special)]
        self.special_token_ids = list(range(END, len(self.tokens)))
        self.tokens += _LONGER

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


class ByteTokens:
    """``special`` texts are control tokens, as a GGUF file may have them."""

    def __init__(self, special: Sequence[str] = ()) -> None:
        self.special_tokens = {text: END + 1 + index for index, text in enumerate(special)}
        vocabulary = _Bytes(special)
        self._pieces = vocabulary.tokens
        self.tokenizer = LLTokenizer(TokenizerWrapper(vocabulary))

    def tokens(self, text: str) -> list[int]:
        for mark in self.special_tokens:
            text = text.replace(mark, f"\0{mark}\0")
        return [token for part in text.split("\0") for token in self._tokens(part)]

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(self._pieces[token].removeprefix(b"\xff") for token in tokens).decode()

    def _tokens(self, part: str) -> list[int]:
        special = self.special_tokens.get(part)
        return list(part.encode()) if special is None else [special]

    def matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self.tokenizer, grammar)
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def accepts(self, grammar: str, text: str) -> bool:
        """Whether ``text`` may be a whole answer."""
        matcher = self.matcher(grammar)
        tokens = self.tokens(text)
        if matcher.validate_tokens(tokens) < len(tokens):
            return False
        matcher.consume_tokens(tokens)
        return bool(matcher.is_accepting())

    def sample(self, grammar: str, seed: int, limit: int = 600) -> str | None:
        """An answer at random, None if it does not end in time."""
        rng = random.Random(seed)
        matcher = self.matcher(grammar)
        chosen: list[int] = []
        while len(chosen) < limit:
            mask = matcher.compute_bitmask()
            allowed = [t for t in range(self.tokenizer.vocab_size) if mask[t // 8] >> t % 8 & 1]
            assert allowed, self.text(chosen)
            if END in allowed and (len(allowed) == 1 or rng.random() < 0.3):
                return self.text(chosen)
            ascii_only = [t for t in allowed if t != END and (t < 128 or t > END)] or allowed
            likely = [t for t in ascii_only if t in _LIKELY or t > END]
            token = rng.choice(likely if likely and rng.random() < 0.4 else ascii_only)
            chosen.append(token)
            assert matcher.consume_token(token)
        return None


@lru_cache(maxsize=8)
def byte_tokens(*special: str) -> ByteTokens:
    return ByteTokens(special)
