"""The sampling state of one sequence: from a row of logits to a token.

Order: bias, penalties, constraint, then the largest logit, or truncation, temperature and a draw.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from gguf_server.engine.llama.grammar import MatcherGrammar
from gguf_server.engine.llama.penalties import Bias, OutputPenalty, RepeatPenalty
from gguf_server.engine.llama.truncation import Row, Truncation
from gguf_server.errors import InternalError
from gguf_server.wire.messages import SamplingParams

Edit = Bias | RepeatPenalty | OutputPenalty | MatcherGrammar

_BLOCK = 256
_MIN_TEMPERATURE = 1e-6  # below it the division overflows, far below where it matters


class TokenSampler:
    """Implements ``engine.runner.Sampler``. Costs nothing for what is switched off."""

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        end_tokens: Iterable[int],
        grammar: MatcherGrammar | None = None,
    ) -> None:
        self._edits = _edits(params, prompt, end_tokens if params.ignore_eos else ())
        self._grammar = grammar
        if grammar is not None:
            self._edits.append(grammar)
        self._temperature = max(params.temperature, _MIN_TEMPERATURE)
        self._truncation = Truncation(
            top_k=params.top_k,
            typical_p=params.typical_p,
            top_p=params.top_p,
            min_p=params.min_p,
        )
        self._random: np.random.Generator | None = None
        if params.temperature > 0 and params.top_k != 1:
            self._random = np.random.default_rng(_seed(params.seed))

    @property
    def is_complete(self) -> bool:
        return self._grammar is not None and self._grammar.is_complete

    def close(self) -> None:
        """Nothing to release: the state is numpy's."""

    def choose(self, row: Row, scratch: Row) -> int:
        """The next token; ``row`` is edited in place, so it can be chosen from only once."""
        for edit in self._edits:
            edit.apply(row)
        best = int(row.argmax())  # a NaN counts as the largest
        if not np.isfinite(row[best]):
            raise InternalError(_BAD_LOGITS)
        token = best if self._random is None else self._draw(row, scratch, self._random.random())
        for edit in self._edits:
            edit.accept(token)
        return token

    def _draw(self, row: Row, scratch: Row, chance: float) -> int:
        if self._truncation.is_off:
            return draw_from_all(row, self._temperature, chance, scratch)
        ids = self._truncation.candidates(row, scratch)
        logits = row[ids]
        weights = np.exp((logits - logits.max()) / np.float32(self._temperature))
        return int(ids[_pick(weights, chance)])


def draw_from_all(row: Row, temperature: float, chance: float, scratch: Row) -> int:
    """Draw from the whole vocabulary: first a block by its weight, then a token in it."""
    np.subtract(row, row.max(), out=scratch)
    if temperature != 1.0:
        np.multiply(scratch, np.float32(1 / temperature), out=scratch)
    np.exp(scratch, out=scratch)
    whole = len(scratch) // _BLOCK * _BLOCK
    blocks = scratch[:whole].reshape(-1, _BLOCK).sum(axis=1)
    sums = np.append(blocks, scratch[whole:].sum()).cumsum(dtype=np.float64)
    target = chance * sums[-1]
    block = min(int(sums.searchsorted(target, side="right")), len(sums) - 1)
    weights = scratch[block * _BLOCK : (block + 1) * _BLOCK]
    before = float(sums[block - 1]) if block else 0.0
    return block * _BLOCK + _pick(weights, (target - before) / (sums[block] - before))


def _pick(weights: Row, chance: float) -> int:
    """The index at ``chance`` (0 to 1) of the weight; never one without weight."""
    sums = weights.cumsum(dtype=np.float64)
    index = int(sums.searchsorted(chance * sums[-1], side="right"))
    return index if index < len(sums) else int(np.flatnonzero(weights)[-1])


def _edits(params: SamplingParams, prompt: Sequence[int], banned: Iterable[int]) -> list[Edit]:
    edits: list[Edit] = []
    if params.logit_bias or params.ignore_eos:
        edits.append(Bias(params.logit_bias, banned))
    if params.repeat_penalty != 1.0 and params.repeat_last_n != 0:
        edits.append(RepeatPenalty(params.repeat_penalty, params.repeat_last_n, prompt))
    if params.presence_penalty or params.frequency_penalty:
        edits.append(OutputPenalty(params.presence_penalty, params.frequency_penalty))
    return edits


def _seed(seed: int | None) -> int | None:
    """None stays random; a negative seed is as good as any other."""
    return None if seed is None else seed % 2**64


_BAD_LOGITS = (
    "The model computed no usable probability for any next token (not a number, or every token "
    "banned). Check logit_bias; if it is not set, the model file or its quantization is broken."
)
