"""Text to tokens and back, with a model's own tokenizer."""

from functools import cached_property

from llguidance import LLTokenizer

from gguf_server.engine.llama import binding
from gguf_server.engine.llama.special import SpecialTokens
from gguf_server.errors import InvalidRequest

# Below this, there are not so many special tokens that they matter.
_LONG_BYTES = 16_384


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
        self.special_tokens = {
            self._text(token): token for token in range(self._size) if vocab.is_control(token)
        }
        self.bos_text = self._text(vocab.bos())
        self.eos_text = self._text(vocab.eos())
        self._folds_text = vocab.kind() in binding.FOLDING_VOCABULARIES
        self._drops_bos = vocab.adds_bos() and self.bos_text != ""

    def __len__(self) -> int:
        return self._size

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if add_special and parse_special and self._drops_bos:
            # Chat templates write BOS themselves; llama.cpp would add a second one.
            text = text.removeprefix(self.bos_text)
        raw = text.encode(errors="replace")  # a lone surrogate has no UTF-8 form
        try:
            return self._tokenize(raw, add_special=add_special, parse_special=parse_special)
        except OverflowError as exc:
            message = f"The text of {len(raw)} bytes is too long to tokenize. Send less text."
            raise InvalidRequest(message) from exc

    def _tokenize(self, raw: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        if len(raw) < _LONG_BYTES:
            return self._vocab.tokenize(raw, add_special=add_special, parse_special=parse_special)
        special = self._special if parse_special else self._user_defined
        parts = [
            self._vocab.tokenize(part, add_special=False, parse_special=parse_special)
            for part in special.parts(raw)
        ]
        tokens = [token for part in parts for token in part]
        if not add_special:
            return tokens
        added = self._vocab.tokenize(b"", add_special=True, parse_special=False)
        num_before = 1 if len(added) > 1 or self._vocab.adds_bos() else 0
        return added[:num_before] + tokens + added[num_before:]

    def fewest_tokens(self, text: str) -> int:
        raw = text.encode(errors="replace")
        num_special = self._controls.count(raw)
        if self._folds_text:
            return num_special
        return max(len(raw) // self._longest_bytes, num_special)

    @cached_property
    def _longest_bytes(self) -> int:
        return max(len(self._vocab.piece(token, special=True)) for token in range(self._size))

    @cached_property
    def _controls(self) -> SpecialTokens:
        return self._with_attributes(binding.TOKEN_CONTROL)

    @cached_property
    def _special(self) -> SpecialTokens:
        """All that is found in a text while special tokens are recognised."""
        return self._with_attributes(
            binding.TOKEN_CONTROL | binding.TOKEN_UNKNOWN | binding.TOKEN_USER_DEFINED
        )

    @cached_property
    def _user_defined(self) -> SpecialTokens:
        """All that is found while they are not."""
        return self._with_attributes(binding.TOKEN_USER_DEFINED)

    def _with_attributes(self, wanted: int) -> SpecialTokens:
        attributes = [self._vocab.attributes(token) for token in range(self._size)]
        spellings = {
            self._vocab.spelling(token) for token, bits in enumerate(attributes) if bits & wanted
        }
        strips = any(bits & binding.TOKEN_STRIPS for bits in attributes)
        return SpecialTokens(spellings - {b""}, strips=strips)

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
