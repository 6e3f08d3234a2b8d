"""The engine process: ``python -m gguf_server.engine FD``. Started by the supervisor.

Exit codes: 0 the other side is gone, 1 llama.cpp is in an unknown state, 4 the model cannot be
loaded. An ``abort()`` inside llama.cpp ends it by a signal; the supervisor sees all of these.
"""

import gc
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time

from gguf_server.engine.cells import Cells, SplitCells, UnifiedCells
from gguf_server.engine.embedder import Embedder
from gguf_server.engine.generator import Generator
from gguf_server.engine.host import HostCache
from gguf_server.engine.host_memory import cache_bytes, read_host_memory
from gguf_server.engine.intake import Intake
from gguf_server.engine.llama import parameters
from gguf_server.engine.llama.embedding import LlamaVectorRunner
from gguf_server.engine.llama.grammar import LlamaGrammars
from gguf_server.engine.llama.model import LlamaModel, load
from gguf_server.engine.llama.room import check_room
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.engine.loop import Command, Loop
from gguf_server.engine.memory import Memory
from gguf_server.engine.pace import StepPacer
from gguf_server.engine.runner import EngineFatal
from gguf_server.engine.scheduler import Limits, Scheduler
from gguf_server.engine.slots import Slots
from gguf_server.errors import DoesNotFit, LoadError
from gguf_server.parent import die_with_parent, go_first_when_memory_runs_out
from gguf_server.wire.framing import FrameReader, encode
from gguf_server.wire.messages import (
    PROTOCOL_VERSION,
    EngineConfig,
    FromEngine,
    Load,
    LoadFailed,
    LoadProgress,
    LoadStage,
    Ready,
    ToEngine,
)

_log = logging.getLogger("gguf_server.engine")
_READ_BYTES = 1 << 16
# A step may take this many times what the warm-up says before the engine counts as stuck.
_STALL_FACTOR = 5
# llguidance follows references and rules by recursion, thousands deep in what a request may hold.
_STACK_BYTES = 256 * 1024**2


class Channel:
    """Our end of the socket. Two threads send, one receives."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)  # type: ignore[arg-type]
        self._sending = threading.Lock()

    def send(self, message: FromEngine) -> None:
        frame = encode(message)
        with self._sending:
            self._socket.sendall(frame)

    def receive(self) -> list[ToEngine]:
        """The next messages. Does not return when the API process is gone."""
        while data := self._socket.recv(_READ_BYTES):
            if messages := self._frames.feed(data):
                return messages
        os._exit(0)  # nobody is left to serve, and a long step must not delay the end


def main() -> None:
    """Load what the first message says, then run until the API process is gone."""
    die_with_parent()
    go_first_when_memory_runs_out()
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the API process decides when to stop
    channel = Channel(int(sys.argv[1]))
    try:
        _serve(channel)
    except (LoadError, DoesNotFit) as exc:
        channel.send(LoadFailed(exc.message, exc.code))
        sys.exit(exc.exit_code)
    except EngineFatal as exc:
        _log.error("%s", exc)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as exc:  # noqa: BLE001  (a bug of ours: one line, the supervisor replaces us)
        _log.error("%s: %s", type(exc).__name__, exc, exc_info=_log.isEnabledFor(logging.DEBUG))
        sys.exit(1)


def _serve(channel: Channel) -> None:
    first = channel.receive()[0]
    if not isinstance(first, Load) or first.protocol_version != PROTOCOL_VERSION:
        msg = "the server and its engine are of different versions; reinstall gguf-server"
        raise LoadError(msg)
    logging.getLogger().setLevel(first.config.log_level.upper())
    model, seconds = _load(first.config, channel)
    channel.send(LoadProgress("warmup", 0.0))
    began = time.monotonic()
    generator, step_seconds = _generator(model, channel) if model.generates else (None, 0.0)
    vectors = LlamaVectorRunner(model) if model.embedding_size else None
    embedder, batch_seconds = _embedder(model, vectors, channel) if vectors else (None, 0.0)
    seconds["warmup"] = time.monotonic() - began
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    num_mask_threads = max(1, first.config.threads // 4)
    grammars = LlamaGrammars(model.vocabulary, num_mask_threads) if model.generates else None
    threading.stack_size(_STACK_BYTES)  # of all threads from here on
    intake = Intake(
        model.vocabulary,
        grammars,
        model.context_tokens,
        channel.send,
        commands.put,
        vectors,
    )
    threading.Thread(target=_read, args=(channel, intake), daemon=True).start()
    stall_seconds = _STALL_FACTOR * max(step_seconds, batch_seconds)
    facts = model.facts(stall_seconds=stall_seconds, load_seconds=seconds)
    gc.freeze()  # what the load left behind need not be walked again and again
    channel.send(Ready(PROTOCOL_VERSION, facts))
    Loop(generator, embedder, channel.send).run(commands)


def _load(config: EngineConfig, channel: Channel) -> tuple[LlamaModel, dict[str, float]]:
    """The model, and seconds by stage."""
    began = {"start": time.monotonic()}

    def on_progress(stage: LoadStage, fraction: float) -> None:
        began.setdefault(stage, time.monotonic())
        channel.send(LoadProgress(stage, fraction))

    if config.memory_check:
        check_room(config)
    model = load(config, on_progress)
    ends = [*list(began.values())[1:], time.monotonic()]
    return model, {
        stage: end - start for (stage, start), end in zip(began.items(), ends, strict=True)
    }


def _generator(model: LlamaModel, channel: Channel) -> tuple[Generator, float]:
    """Warm, with the seconds of its largest step."""
    config = model.config
    runner = LlamaRunner(model)
    step_seconds, num_tokens = runner.warm_up()
    seconds_per_token = step_seconds / num_tokens
    slot_ids = config.slots + config.retained_prefixes
    cells: Cells = (
        SplitCells(slot_ids, model.context_tokens)
        if config.kv_layout == "split"
        else UnifiedCells(slot_ids, model.context.num_cells)
    )
    memory = model.kind.memory
    host_bytes = cache_bytes(config.host_cache_bytes, read_host_memory()) if memory else 0
    host = HostCache(memory or Memory(), host_bytes)
    slots = Slots(slot_ids, cells, memory, host, runner.first_position)
    limits = Limits(
        slots=config.slots,
        output_reservation_tokens=config.output_reservation_tokens,
        scored_tokens=parameters.SCORED_TOKENS,
    )
    pacer = StepPacer(
        target_seconds=config.step_target_seconds,
        max_batch_tokens=config.max_batch_tokens,
        seconds_per_token=seconds_per_token,
    )
    generator = Generator(
        runner=runner,
        vocabulary=model.vocabulary,
        scheduler=Scheduler(limits, slots),
        pacer=pacer,
        context_tokens=model.context_tokens,
        send=channel.send,
    )
    return generator, seconds_per_token * config.max_batch_tokens


def _embedder(
    model: LlamaModel, runner: LlamaVectorRunner, channel: Channel
) -> tuple[Embedder, float]:
    """Warm, with the seconds of its largest batch."""
    channel.send(LoadProgress("warmup", 0.5))  # a sign of life: that batch may take long
    seconds = runner.warm_up()
    pacer = StepPacer(
        target_seconds=model.config.step_target_seconds,
        max_batch_tokens=runner.max_tokens,
        seconds_per_token=seconds / runner.max_tokens,
    )
    return Embedder(runner=runner, pacer=pacer, send=channel.send), seconds


def _read(channel: Channel, intake: Intake) -> None:
    """The reader thread: requests are checked and tokenized while the loop computes."""
    try:
        while True:
            for message in channel.receive():
                intake.take(message)
    except Exception as exc:  # noqa: BLE001  (deaf, but alive by its heartbeat: worse than dead)
        _log.error("reading requests: %s: %s", type(exc).__name__, exc)
        os._exit(1)


if __name__ == "__main__":
    main()
