"""Embeddings: whole inputs in batches, each answered with one vector."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gguf_server.engine.runner import Vector, VectorRunner
from gguf_server.wire.messages import Cancel, Embed, Embedded, FromEngine


@dataclass(frozen=True, slots=True)
class NewEmbedding:
    """An accepted input on its way to the embedder."""

    embed: Embed
    tokens: list[int]


class Embedder:
    """Computes waiting inputs in order, as many at once as a batch holds."""

    def __init__(self, runner: VectorRunner, send: Callable[[FromEngine], None]) -> None:
        self._runner = runner
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

    def step(self) -> None:
        """One batch, answered."""
        batch = [self._waiting.popleft()]
        num_tokens = len(batch[0].tokens)
        while self._waiting and len(batch) < self._runner.max_inputs:
            num_tokens += len(self._waiting[0].tokens)
            if num_tokens > self._runner.max_tokens:
                break
            batch.append(self._waiting.popleft())
        vectors = self._runner.embed([each.tokens for each in batch])
        for new, vector in zip(batch, vectors, strict=True):
            short = shortened(vector, new.embed.dimensions)
            self._send(Embedded(new.embed.id, len(new.tokens), short.astype("<f4").tobytes()))


def shortened(vector: Vector, dimensions: int | None) -> Vector:
    """The first ``dimensions`` of a vector, of length 1 again; None leaves it as it is."""
    if dimensions is None:
        return vector
    cut = vector[:dimensions]
    return cut / max(float(np.linalg.norm(cut)), 1e-12)
