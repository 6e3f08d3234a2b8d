"""Computes batches over preallocated arrays and owns the KV cache."""

from collections.abc import Sequence
from time import perf_counter
from typing import cast

import numpy as np

from gguf_server.engine.llama.binding import Batch, Logits
from gguf_server.engine.llama.grammar import MatcherGrammar
from gguf_server.engine.llama.logprobs import Logprobs
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.sampler import TokenSampler
from gguf_server.engine.runner import Chunk, EngineFatal, Grammar, KvCacheFull, Sampler
from gguf_server.errors import InvalidRequest
from gguf_server.wire.messages import SamplingParams

_WARM_UP_TOKENS = 32


class LlamaRunner:
    """Implements ``engine.runner.Runner``. One thread calls it."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._context = model.context
        self._vocabulary = model.vocabulary
        self._unified = model.config.kv_layout == "unified"
        # As many as the context was made for: a batch never needs more.
        self._capacity = max(
            model.config.max_batch_tokens,
            model.config.slots + model.config.retained_prefixes,
        )
        self._batch = Batch(self._capacity)
        self._scratch = np.empty(len(model.vocabulary), np.float32)
        self._num_rows = 0
        self._logits: Logits = np.empty((0, len(model.vocabulary)), np.float32)

    def fill(self, chunks: Sequence[Chunk]) -> list[int]:
        """A row is a place among the outputs of the batch, not in the batch itself."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        outputs: list[int] = []
        rows: list[int] = []
        for chunk in chunks:
            count = len(chunk.tokens)
            if count == 1:
                tokens.append(chunk.tokens[0])
                positions.append(chunk.start)
                slots.append(chunk.slot)
            else:
                tokens.extend(chunk.tokens)
                positions.extend(range(chunk.start, chunk.start + count))
                slots.extend([chunk.slot] * count)
            if chunk.num_outputs:
                rows.append(len(outputs))
                outputs.extend(range(len(tokens) - chunk.num_outputs, len(tokens)))
        batch, end = self._batch, len(tokens)
        batch.token[:end] = tokens
        batch.pos[:end] = positions
        batch.seq_id[:end] = slots
        batch.output[:end] = 0
        batch.output[outputs] = 1
        batch.resize(end)
        self._num_rows = len(outputs)
        return rows

    def decode(self) -> None:
        """Returns when the logits are on the host."""
        code = self._context.decode(self._batch)
        if code == 1:
            raise KvCacheFull
        if code != 0:
            reason = self._model.log.last_error() or "no reason in its log"
            message = f"llama.cpp could not compute a batch (code {code}): {reason}."
            raise EngineFatal(message)
        if self._num_rows:
            self._logits = self._context.logits(self._num_rows)
        else:
            self._context.synchronize()

    def sample(self, row: int, sampler: Sampler) -> int:
        """Edits the row in place: once per row."""
        return cast("TokenSampler", sampler).choose(self._logits[row], self._scratch)

    def logprobs(self, row: int) -> Logprobs:
        """To be asked for before ``sample``, which edits the row."""
        return Logprobs(self._logits[row], self._vocabulary)

    def logits(self, row: int) -> Logits:
        """A copy, for tests."""
        copied: Logits = self._logits[row].copy()
        return copied

    def new_sampler(
        self, params: SamplingParams, prompt: Sequence[int], grammar: Grammar | None
    ) -> TokenSampler:
        outside = [token for token in params.logit_bias if token not in self._vocabulary]
        if outside:
            message = (
                f"logit_bias names token {outside[0]}; this model's tokens are 0 to "
                f"{len(self._vocabulary) - 1}."
            )
            raise InvalidRequest(message, param="logit_bias")
        end_tokens = self._vocabulary.end_tokens
        return TokenSampler(params, prompt, end_tokens, cast("MatcherGrammar | None", grammar))

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        """Free on a unified cache. On a split one the data of the whole stream is copied when
        the next batch is decoded, before it is computed and in the order of the calls."""
        if source == target:
            self.truncate(target, num_tokens)
            return
        self._context.forget(target, 0)
        if num_tokens == 0:
            return
        if self._unified:
            self._context.share(source, target, num_tokens)
        else:
            # Between streams llama.cpp copies everything or aborts.
            self._context.share(source, target, -1)
            self._context.forget(target, num_tokens)

    def truncate(self, slot: int, num_tokens: int) -> None:
        self._context.forget(slot, num_tokens)

    def warm_up(self) -> tuple[float, int]:
        """Every weight once, so that no request pays for the first touch; leaves no trace.

        Returns the seconds of the longest step after that and the tokens in it.
        """
        config = self._model.config
        count = min(_WARM_UP_TOKENS, self._capacity, self._model.context_tokens - 1)
        prefill = [Chunk(0, 0, [0] * count, num_outputs=1)]
        tokens = [Chunk(slot, 0, [0], num_outputs=1) for slot in range(config.slots)]
        self._context.set_warmup(on=True)  # all experts, not only the chosen ones
        self._timed(prefill)
        self._context.set_warmup(on=False)
        return max((self._timed(tokens), len(tokens)), (self._timed(prefill), count))

    def _timed(self, chunks: Sequence[Chunk]) -> float:
        self.fill(chunks)
        begin = perf_counter()
        self.decode()
        seconds = perf_counter() - begin
        self._context.clear()
        return seconds
