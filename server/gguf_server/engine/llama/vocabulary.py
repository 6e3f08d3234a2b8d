"""Text to tokens and back, with a model's own tokenizer."""

import re
from functools import cached_property

from llguidance import LLTokenizer

from gguf_server.engine.llama import binding
from gguf_server.errors import InvalidRequest


class LlamaVocabulary:
    """Implements ``engine.runner.Vocabulary``.

    One thread may tokenize while another one asks for pieces: llama.cpp only reads here, and a
    piece computed twice is the same piece.
    """

    def __init__(self, vocab: binding.Vocab) -> None:
        self._vocab = vocab
        self._size = len(vocab)
        self._pieces: list[bytes | None] = [None] * self._size
        self.end_tokens = frozenset(token for token in range(self._size) if vocab.is_end(token))
        self.bos_text = self._text(vocab.bos())
        self.eos_text = self._text(vocab.eos())
        self._drops_bos = vocab.adds_bos() and self.bos_text != ""

    def __len__(self) -> int:
        return self._size

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if add_special and parse_special and self._drops_bos:
            # Chat templates write BOS themselves; llama.cpp would add a second one.
            text = text.removeprefix(self.bos_text)
        raw = text.encode(errors="replace")  # a lone surrogate has no UTF-8 form
        try:
            return self._vocab.tokenize(raw, add_special=add_special, parse_special=parse_special)
        except OverflowError as exc:
            message = f"The text of {len(raw)} bytes is too long to tokenize. Send less text."
            raise InvalidRequest(message) from exc

    def fewest_tokens(self, text: str) -> int:
        """llama.cpp looks for special tokens in quadratic time, so too many must not get there."""
        longest, special = self._bounds
        raw = text.encode(errors="replace")
        return max(len(raw) // longest, sum(1 for _ in special.finditer(raw)))

    @cached_property
    def _bounds(self) -> tuple[int, re.Pattern[bytes]]:
        """Bytes of the longest token, and a pattern of the special ones."""
        spelled = [self._vocab.piece(token, special=True) for token in range(self._size)]
        special = [text for token, text in enumerate(spelled) if text and not self.piece(token)]
        special.sort(key=len, reverse=True)
        return max(map(len, spelled)), re.compile(b"|".join(map(re.escape, special)) or b"(?!)")

    def piece(self, token: int) -> bytes:
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._vocab.piece(token, special=False)
        return piece

    def spelling(self, token: int) -> bytes:
        return self.piece(token) or self._vocab.piece(token, special=True)

    def guidance_tokenizer(self) -> LLTokenizer:
        """For llguidance. It knows special tokens by a byte that no text contains."""
        spelled = [
            self.piece(token) or b"\xff" + self._vocab.piece(token, special=True)
            for token in range(self._size)
        ]
        return self._vocab.guidance_tokenizer(spelled, sorted(self.end_tokens))

    def is_end(self, token: int) -> bool:
        return token in self.end_tokens

    def __contains__(self, token: int) -> bool:
        """Whether this is the id of a token, in a bias for example."""
        return 0 <= token < self._size

    def _text(self, token: int) -> str:
        """The spelling of a special token, "" when the vocabulary has none (-1)."""
        if token not in self:
            return ""
        return self._vocab.piece(token, special=True).decode(errors="replace")
