"""One generation: its tokens, how many of them are computed, and when it ends."""

from bisect import insort
from dataclasses import dataclass, field

from gguf_server.engine.runner import Sampler
from gguf_server.engine.text import TextStream
from gguf_server.wire.messages import FinishReason


@dataclass(slots=True, eq=False)
class Sequence:
    """``tokens`` are the prompt and all that was generated; the first ``num_computed`` have cells.

    With ``scores_prompt`` the log-probabilities of the prompt are wanted; the first ``num_scored``
    tokens have theirs.

    A chunk ends at each of ``checkpoints``, ascending, so that the state there can be saved.

    ``max_total_tokens`` bounds prompt and output together, ``reserved_tokens`` is what admission
    set aside for both. A waiting sequence has no slot; a
    preempted one is waiting again, with its output so far as part of ``tokens``.
    """

    id: int
    tokens: list[int]
    num_prompt_tokens: int
    max_total_tokens: int
    sampler: Sampler
    text: TextStream = field(default_factory=TextStream)
    num_logprobs: int | None = None
    scores_prompt: bool = False
    show_special: bool = False
    num_scored: int = 0
    reserved_tokens: int = 0
    slot: int = -1
    num_computed: int = 0
    started: bool = False
    checkpoints: list[int] = field(default_factory=list)

    @property
    def num_uncomputed(self) -> int:
        return len(self.tokens) - self.num_computed

    @property
    def num_until_checkpoint(self) -> int:
        """How many tokens the next chunk may have."""
        end = self.checkpoints[0] if self.checkpoints else len(self.tokens)
        return end - self.num_computed

    @property
    def at_checkpoint(self) -> bool:
        return bool(self.checkpoints) and self.checkpoints[0] == self.num_computed

    def add_checkpoint(self, num_tokens: int) -> None:
        if num_tokens not in self.checkpoints:
            insort(self.checkpoints, num_tokens)

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def num_reusable_tokens(self) -> int:
        """How many leading tokens need no computing if somebody else has: not those whose logits
        are wanted, the last one's above all."""
        if self.scores_prompt:
            return max(0, min(self.num_scored, self.num_prompt_tokens) - 1)
        return len(self.tokens) - 1

    @property
    def is_scoring(self) -> bool:
        """Whether the next tokens to compute belong to a prompt that is being scored."""
        return self.scores_prompt and self.num_computed < self.num_prompt_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether a client is waiting for this sequence's next token, one step away."""
        return self.num_uncomputed == 1 and self.num_output_tokens > 0

    @property
    def is_prefilled(self) -> bool:
        """Whether nothing but a sampled token is left to compute."""
        return self.num_uncomputed == 0 or self.is_decoding

    @property
    def is_full(self) -> bool:
        """Whether no token may be added; at the start only if none was asked for."""
        return self.num_uncomputed == 0 and len(self.tokens) >= self.max_total_tokens

    @property
    def outstanding_tokens(self) -> int:
        """Cells reserved for it and not yet written."""
        return max(0, self.reserved_tokens - self.num_computed)

    def append(self, token: int, *, is_end: bool) -> FinishReason | None:
        """Take a sampled token; returns why the sequence ends with it, if it does."""
        self.tokens.append(token)
        if is_end:
            return "stop"
        return "length" if len(self.tokens) >= self.max_total_tokens else None
