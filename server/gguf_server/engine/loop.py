"""The engine's main thread: commands in, then a step of each kind of work that there is."""

import contextlib
import queue
import time
from collections.abc import Callable
from typing import NoReturn

from gguf_server.engine.embedder import Embedder, NewEmbedding
from gguf_server.engine.generator import Generator, NewSequence
from gguf_server.wire.messages import Cancel, FromEngine, Heartbeat

HEARTBEAT_SECONDS = 1.0

Command = NewSequence | NewEmbedding | Cancel


class Loop:
    """Generation and embeddings in turns, so that neither waits for more than one step.

    A model may lack either; intake refuses what it lacks. While there is nothing to compute the
    loop beats.
    """

    def __init__(
        self,
        generator: Generator | None,
        embedder: Embedder | None,
        send: Callable[[FromEngine], None],
    ) -> None:
        self._generator = generator
        self._embedder = embedder
        self._works = [work for work in (generator, embedder) if work is not None]
        self._send = send
        self._last_beat = time.monotonic()

    def run(self, commands: "queue.SimpleQueue[Command]") -> NoReturn:
        """Until the process ends. Raises ``EngineFatal`` when only a new one can help."""
        while True:
            self.take_commands(commands)
            self.step()

    def step(self) -> None:
        """One step of each kind of work that there is."""
        generator, embedder = self._generator, self._embedder
        if generator is not None and not generator.is_idle:
            generator.step()
        if embedder is not None and not embedder.is_idle:
            streams = generator is not None and not generator.is_idle
            embedder.step(beside_streams=streams)

    def take_commands(self, commands: "queue.SimpleQueue[Command]") -> None:
        """All that wait; when there is nothing else to do, the next one, for up to a beat."""
        if all(work.is_idle for work in self._works):
            with contextlib.suppress(queue.Empty):
                self._handle(commands.get(timeout=HEARTBEAT_SECONDS))
            if time.monotonic() - self._last_beat >= HEARTBEAT_SECONDS:
                self._last_beat = time.monotonic()
                self._send(Heartbeat())
        while not commands.empty():
            self._handle(commands.get())

    def _handle(self, command: Command) -> None:
        match command:
            case NewEmbedding():
                assert self._embedder is not None
                self._embedder.handle(command)
            case NewSequence():
                assert self._generator is not None
                self._generator.handle(command)
            case Cancel():
                for work in self._works:
                    work.handle(command)
