"""Computes embeddings in a context of their own: each input a sequence, one batch in one piece."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from gguf_server.engine.llama.binding import Batch
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.runner import EngineFatal, Vector


class LlamaVectorRunner:
    """Implements ``engine.runner.VectorRunner``. One thread calls it."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._context = context = model.embedding_context
        self.max_inputs = context.max_sequences()
        self.max_tokens = context.max_tokens()
        self.size = model.embedding_size
        self._compute = context.encode if model.weights.number("has_encoder") else context.decode
        self._batch = Batch(self.max_tokens)
        self._batch.output[:] = 1  # pooling takes all tokens

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[Vector]:
        """The pooled vectors as the model computes them."""
        self._fill(inputs)
        code = self._compute(self._batch)
        if code != 0:
            reason = self._model.log.last_error() or "no reason in its log"
            message = f"llama.cpp could not compute embeddings (code {code}): {reason}."
            raise EngineFatal(message)
        vectors = [self._context.pooled(number, self.size) for number in range(len(inputs))]
        if self._context.has_memory():
            self._context.clear()
        return vectors

    def warm_up(self) -> float:
        """The seconds of the largest batch there can be, after every weight was touched."""
        self._context.set_warmup(on=True)  # all experts, not only the chosen ones
        self.embed([[0]])
        self._context.set_warmup(on=False)
        begin = perf_counter()
        self.embed([[0] * self.max_tokens])
        return perf_counter() - begin

    def _fill(self, inputs: Sequence[Sequence[int]]) -> None:
        lengths = [len(tokens) for tokens in inputs]
        batch, end = self._batch, sum(lengths)
        batch.token[:end] = np.concatenate(inputs)
        batch.pos[:end] = np.concatenate([np.arange(length) for length in lengths])
        batch.seq_id[:end] = np.repeat(np.arange(len(inputs)), lengths)
        batch.resize(end)
