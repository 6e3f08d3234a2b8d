"""Computes batches over preallocated arrays and owns the KV cache."""

from collections.abc import Sequence
from time import perf_counter
from typing import cast

import numpy as np

from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.binding import Batch, Logits, SavedState
from gguf_server.engine.llama.grammar import MatcherGrammar
from gguf_server.engine.llama.logprobs import Logprobs
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.sampler import TokenSampler
from gguf_server.engine.memory import Memory
from gguf_server.engine.runner import Chunk, EngineFatal, Grammar, KvCacheFull, Sampler, State
from gguf_server.errors import InvalidRequest
from gguf_server.wire.messages import SamplingParams

# Enough to tell what a token of a prompt costs: 32 say the same, and take a CPU twice as long.
_WARM_UP_TOKENS = 16
# Floats take cuBLAS from 17 tokens on, layers in host memory the GPU from 32 on; no request should
# be the first there.
_GPU_WARM_UP_TOKENS = 32


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
        self._memory = model.kind.memory or Memory()
        windows = self._memory.window_tokens * parameters.num_sequences(model.config)
        # Otherwise each layer has as many cells as the others, and sharing works as in those.
        self._windows_are_tight = windows > 0 and windows + self._capacity < model.context.num_cells
        self._copying: set[int] = set()  # slots with copies that the next decode does
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
        self._copying.clear()
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

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> bool:
        """Free on a unified cache. On a split one the data of the whole stream is copied when
        the next batch is decoded, before it is computed and in the order of the calls."""
        if source == target:
            return self.truncate(target, num_tokens)
        self._context.forget(target, 0)
        if num_tokens == 0:
            return True
        if self._unified:
            self._context.share(source, target, num_tokens)
            return self._own_window(target) and self._holds(target, num_tokens)
        # Between streams llama.cpp copies everything or aborts.
        self._context.share(source, target, -1)
        self._copying.update((source, target))
        return self.truncate(target, num_tokens)

    def truncate(self, slot: int, num_tokens: int) -> bool:
        self._context.forget(slot, num_tokens)
        return self._holds(slot, num_tokens)

    def restore(self, slot: int, state: State, num_tokens: int) -> bool:
        """Written at once: not where a copy from or to the slot is still to come."""
        if slot in self._copying:
            self._context.forget(slot, 0)
            return False
        if not self._context.restore(slot, cast("SavedState", state)):
            self._context.forget(slot, 0)
            return False
        return self.truncate(slot, num_tokens)

    def state_bytes(self, slot: int) -> int:
        return self._context.state_bytes(slot)

    def save(self, slot: int) -> State | None:
        """Read at once: not where a copy to the slot is still to come."""
        return None if slot in self._copying else self._context.save(slot)

    def first_position(self, slot: int) -> int:
        return self._context.first_position(slot)

    def _holds(self, slot: int, num_tokens: int) -> bool:
        """Whether the slot can go on after ``num_tokens``; else it is emptied.

        The scheduler decides by what it was told; in a unified cache the cells that a window left
        behind may be taken by another slot between then and now.
        """
        complete = self._context.last_position(slot) == num_tokens - 1
        if complete and self._memory.window_tokens:
            complete = self.first_position(slot) <= self._memory.first_needed(num_tokens)
        if not complete:
            self._context.forget(slot, 0)
        return complete

    def _own_window(self, slot: int) -> bool:
        """Give the slot cells of its own in the layers with a window.

        There llama.cpp has cells for one window a slot, and takes back those that a window left
        behind only while a single slot refers to them: shared ones would be lost for good.
        """
        if not self._windows_are_tight:
            return True
        state = self._context.save(slot, window_only=True)
        if state is not None and self._context.restore(slot, state, window_only=True):
            return True
        self._context.forget(slot, 0)
        return False

    def warm_up(self) -> tuple[float, int]:
        """Every weight once, so that no request pays for the first touch; leaves no trace.

        Returns the seconds of the longest step after that and the tokens in it.
        """
        config = self._model.config
        wanted = _GPU_WARM_UP_TOKENS if binding.can_offload() else _WARM_UP_TOKENS
        count = min(wanted, self._capacity, self._model.context_tokens - 1)
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
