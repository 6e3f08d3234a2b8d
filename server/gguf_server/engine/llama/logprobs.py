"""Log-probabilities as the model has them: before bias, penalties, constraints, temperature."""

from math import log

import numpy as np

from gguf_server.engine.llama.truncation import Row, largest
from gguf_server.engine.llama.vocabulary import LlamaVocabulary
from gguf_server.wire.messages import LikelyToken, TokenLogprob

LEAST = -9999.0  # JSON has no infinity; OpenAI writes this


class Logprobs:
    """Implements ``engine.runner.Logprobs`` for one row, which it copies: sampling edits rows."""

    def __init__(self, row: Row, vocabulary: LlamaVocabulary) -> None:
        self._row = row.copy()
        self._vocabulary = vocabulary
        top = self._row.max()
        self._log_sum = float(top) + log(float(np.exp(self._row - top).sum()))

    def of(self, token: int, num_likeliest: int) -> TokenLogprob:
        likeliest = largest(self._row, num_likeliest).tolist() if num_likeliest else ()
        spelling = self._vocabulary.spelling
        return TokenLogprob(
            token,
            spelling(token),
            self._logprob(token),
            tuple(LikelyToken(each, spelling(each), self._logprob(each)) for each in likeliest),
        )

    def _logprob(self, token: int) -> float:
        return max(float(self._row[token]) - self._log_sum, LEAST)
