"""The life of the engine: start, load, watch, replace, give up. The only writer of its state."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from gguf_server.errors import CrashLoop, LoadError, StartupError, startup_error
from gguf_server.supervisor.child import ENGINE_COMMAND, Child
from gguf_server.supervisor.preparation import Preparation, Prepared, Stage
from gguf_server.supervisor.restart import RestartPolicy
from gguf_server.supervisor.status import State, Status
from gguf_server.supervisor.watchdog import CHECK_SECONDS, Watchdog
from gguf_server.wire.framing import FramingError
from gguf_server.wire.messages import (
    PROTOCOL_VERSION,
    Embedded,
    EngineConfig,
    FromEngine,
    Heartbeat,
    Load,
    LoadFailed,
    LoadProgress,
    ModelFacts,
    Ready,
    StepOutput,
    ToEngine,
)

_log = logging.getLogger(__name__)


def _summary(facts: ModelFacts) -> str:
    parts = [facts.architecture, f"{facts.num_params / 1e9:.2f}B parameters"]
    if facts.generates:
        slots = f"{facts.slots} slots of {facts.context_tokens} tokens"
        parts.append(f"{slots} ({facts.kv_layout} KV cache)")
    else:
        parts.append(f"inputs of up to {facts.context_tokens} tokens")
    if facts.embedding_size:
        parts.append(f"embeddings of {facts.embedding_size} dimensions")
    return ", ".join([*parts, "; ".join(facts.devices)])


_LAST_BREATH_SECONDS = 2.0
_STALL_ADVICE = "; if it only needs longer, raise --step-stall-seconds or --load-stall-seconds"
# Once may be bad luck; a file or a machine that crashes two engines crashes every one.
_MAX_CRASHED_LOADS = 2


class Listener(Protocol):
    """Who wants to know what the engine says, and that it is gone."""

    def on_message(self, message: FromEngine) -> None: ...
    def on_ready(self, facts: ModelFacts) -> None: ...
    def on_lost(self, cause: str, reason: str) -> None:
        """``cause`` is a word for metrics (``crash``, ``stall``), ``reason`` a sentence."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long silence is endured, and how often a crash.

    ``step_seconds`` is a floor: a model whose warm-up was slow gets more.
    """

    step_seconds: float
    load_seconds: float
    max_crashes: int
    crash_window_seconds: float


class EngineProcess:
    """Prepares, then keeps one engine running. ``status`` can be read any time and never waits.

    ``environment`` is all that the engine gets to see of ours.
    """

    def __init__(
        self,
        prepare: Preparation,
        patience: Patience,
        *,
        environment: Mapping[str, str],
        command: Sequence[str] = ENGINE_COMMAND,
    ) -> None:
        self.draining = False
        self._prepare = prepare
        self._patience = patience
        self._environment = environment
        self._command = command
        self._restarts = RestartPolicy(
            max_crashes=patience.max_crashes, window_seconds=patience.crash_window_seconds
        )
        self._listener: Listener | None = None
        self._child: Child | None = None
        self._state = State.LOADING
        self._ever_ready = False
        self._stage = Stage("start")
        self._since = time.monotonic()
        self._num_restarts = 0
        self._num_crashed_loads = 0
        self._reason = ""
        self._facts: ModelFacts | None = None
        self._stalled = False

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def status(self) -> Status:
        elapsed = time.monotonic() - self._since
        return Status(
            state=self._state,
            ever_ready=self._ever_ready,
            draining=self.draining,
            stage=self._stage.name,
            fraction=self._stage.fraction,
            detail=self._stage.detail,
            elapsed_seconds=elapsed,
            remaining_seconds=self._remaining_seconds(elapsed),
            restarts=self._num_restarts,
            reason=self._reason,
            facts=self._facts,
        )

    @property
    def pid(self) -> int | None:
        """The engine's process id, while there is one."""
        return self._child.pid if self._child else None

    def send(self, message: ToEngine) -> None:
        """Only while the state is READY."""
        assert self._child is not None
        self._child.send(message)

    async def run(self) -> None:
        """Until cancelled. Raises ``StartupError`` when there can be no engine."""
        try:
            prepared = await self._prepare(self._report)
            self._begin(State.LOADING)
            await self._keep_alive(prepared)
        except StartupError as exc:
            if self._state is not State.FAILED:
                self._give_up(exc.message)
            raise

    async def _keep_alive(self, prepared: Prepared) -> None:
        """One engine after the other."""
        while True:
            cause, reason = await self._live(prepared)
            self._reason = f"the engine {reason}"
            self._num_crashed_loads += cause == "crash" and not self._ever_ready
            if self._num_crashed_loads == _MAX_CRASHED_LOADS:
                self._give_up(self._reason)
                self._lost(cause)
                raise LoadError(self._cannot_load(prepared.config))
            delay = self._restarts.crashed(time.monotonic())
            if delay is None:
                self._give_up(self._reason)
                advice = _STALL_ADVICE if cause == "stall" else ""
                msg = (
                    f"gave up after {self._patience.max_crashes} crashes within "
                    f"{self._patience.crash_window_seconds:g} s; last: {self._reason}{advice}"
                )
                self._lost(cause)
                raise CrashLoop(msg)
            self._num_restarts += 1
            self._lost(cause)
            when = f"in {delay:g} s" if delay else "now"
            _log.error("%s; starting another %s", self._reason, when)
            await asyncio.sleep(delay)

    # --- one life ----------------------------------------------------------------------------

    async def _live(self, prepared: Prepared) -> tuple[str, str]:
        """One engine from start to end; the cause and how it ended."""
        self._stalled = False
        try:
            child = self._child = await Child.start(self._command, self._environment)
        except OSError as exc:
            return "crash", f"could not be started: {exc.strerror}"
        watchdog = Watchdog(self._patience.load_seconds, time.monotonic())
        watching = asyncio.create_task(self._watch(child, watchdog))
        last_breath_seconds = 0.0
        try:
            child.send(Load(PROTOCOL_VERSION, self._config(prepared.config)))
            await self._listen_to(child, watchdog, prepared)
            silent = watchdog.silent_seconds(time.monotonic())
            # It closed the socket; a crashed process is gone a moment later, with its signal.
            last_breath_seconds = _LAST_BREATH_SECONDS
        finally:
            watching.cancel()
            self._child = None
            # Before anything is awaited: whoever sees READY may send.
            self._begin(State.REPLACING if self._ever_ready else State.LOADING)
            how = await child.end(last_breath_seconds)
        if self._stalled:
            return "stall", f"made no progress for {silent:.1f} s and was killed"
        return "crash", how

    def _config(self, config: EngineConfig) -> EngineConfig:
        """Memory is checked once: should that be what crashed, another engine goes without."""
        return replace(config, memory_check=config.memory_check and not self._num_restarts)

    async def _listen_to(self, child: Child, watchdog: Watchdog, prepared: Prepared) -> None:
        while True:
            try:
                messages = await child.receive()
            except FramingError as exc:
                _log.error("the engine does not speak our protocol: %s", exc)
                child.kill()
                return
            if not messages:
                return
            for message in messages:
                self._take(message, watchdog, prepared)

    def _take(self, message: FromEngine, watchdog: Watchdog, prepared: Prepared) -> None:
        match message:
            case StepOutput() | Embedded() | Heartbeat():
                watchdog.progress(time.monotonic())
            case LoadProgress():
                watchdog.progress(time.monotonic())
                self._stage = Stage(message.stage, message.fraction)
            case Ready():
                watchdog.progress(time.monotonic())
                watchdog.limit_seconds = max(
                    self._patience.step_seconds, message.facts.stall_seconds
                )
                facts = prepared.facts(message.facts)
                self._become_ready(facts, watchdog.limit_seconds)
            case LoadFailed():
                raise startup_error(message.code, message.message)
            case _:
                pass  # about single requests
        if self._listener is not None:
            self._listener.on_message(message)

    async def _watch(self, child: Child, watchdog: Watchdog) -> None:
        counters = child.io_counters()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self._state is not State.READY and counters != (counters := child.io_counters()):
                watchdog.progress(time.monotonic())
            if watchdog.is_stalled(time.monotonic()):
                self._stalled = True
                child.kill()
                return

    # --- state -------------------------------------------------------------------------------

    def _report(self, stage: Stage) -> None:
        self._stage = stage

    def _begin(self, state: State) -> None:
        self._state = state
        self._stage = Stage("start")
        self._since = time.monotonic()

    def _become_ready(self, facts: ModelFacts, limit_seconds: float) -> None:
        seconds = time.monotonic() - self._since
        self._state, self._ever_ready, self._facts = State.READY, True, facts
        self._restarts.ready(time.monotonic())
        self._stage, self._reason = Stage("ready", 1.0), ""
        _log.info("model ready in %.1f s: %s", seconds, _summary(facts))
        _log.info("an engine silent for more than %.0f s is replaced", limit_seconds)
        if facts.prefix_reuse:
            _log.warning("prefixes are not reused: %s", facts.prefix_reuse)
        if self._listener is not None:
            self._listener.on_ready(facts)

    def _give_up(self, reason: str) -> None:
        self._state, self._reason = State.FAILED, reason

    def _cannot_load(self, config: EngineConfig) -> str:
        return (
            f"cannot load {config.model_path}: {self._num_crashed_loads} engines crashed "
            f"while loading it; last, {self._reason}. The file may be damaged, or too large for "
            "this machine."
        )

    def _lost(self, cause: str) -> None:
        if self._listener is not None:
            self._listener.on_lost(cause, self._reason)

    def _remaining_seconds(self, elapsed: float) -> float | None:
        stage = self._stage
        if stage.name != "weights" or stage.fraction <= 0.0:
            return stage.remaining_seconds
        return elapsed * (1.0 - stage.fraction) / stage.fraction
