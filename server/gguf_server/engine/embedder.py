"""Embeddings: whole inputs in batches, each answered with one vector."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import Vector, VectorRunner
from gguf_server.wire.messages import Cancel, Embed, Embedded, FromEngine, Rejected


@dataclass(frozen=True, slots=True)
class NewEmbedding:
    """An accepted input on its way to the embedder."""

    embed: Embed
    tokens: list[int]


class Embedder:
    """Computes waiting inputs in order, as many at once as a batch holds."""

    def __init__(
        self, *, runner: VectorRunner, pacer: StepPacer, send: Callable[[FromEngine], None]
    ) -> None:
        self._runner = runner
        self._pacer = pacer
        self._send = send
        self._waiting: deque[NewEmbedding] = deque()

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    def handle(self, command: NewEmbedding | Cancel) -> None:
        """One command, between two batches."""
        match command:
            case NewEmbedding():
                self._waiting.append(command)
            case Cancel():
                kept = (each for each in self._waiting if each.embed.id != command.id)
                self._waiting = deque(kept)

    def step(self, *, beside_streams: bool) -> None:
        """One batch, answered. Streams wait for it, so beside them it is a short one."""
        batch = self._next_batch(self._pacer.prefill_budget(int(beside_streams)))
        began = time.perf_counter()
        vectors = self._runner.embed([each.tokens for each in batch])
        num_tokens = sum(len(each.tokens) for each in batch)
        self._pacer.observe(num_tokens, time.perf_counter() - began)
        for new, vector in zip(batch, vectors, strict=True):
            self._send(_answer(new, vector))

    def _next_batch(self, budget: int) -> list[NewEmbedding]:
        """The first inputs within ``budget`` tokens; at least one, because none can be cut."""
        batch = [self._waiting.popleft()]
        left = budget - len(batch[0].tokens)
        while self._waiting and len(batch) < self._runner.max_inputs:
            left -= len(self._waiting[0].tokens)
            if left < 0:
                break
            batch.append(self._waiting.popleft())
        return batch


def _answer(new: NewEmbedding, vector: Vector) -> Embedded | Rejected:
    unit = normalised(vector[: new.embed.dimensions])
    if unit is None:
        msg = "the model computed no vector for this input, only zeros or what is not a number"
        return Rejected(new.embed.id, "internal_error", msg)
    return Embedded(new.embed.id, len(new.tokens), unit.astype("<f4").tobytes())


def normalised(vector: Vector) -> Vector | None:
    """The vector of length 1 in the same direction; None when it points nowhere."""
    exact = vector.astype(np.float64)  # squares of large numbers do not overflow
    length = float(np.linalg.norm(exact))
    if length == 0.0 or not np.isfinite(length):
        return None
    return (exact / length).astype(np.float32)
