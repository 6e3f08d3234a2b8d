"""The API process: puts its parts together, and ends as it should on signals and failures."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gguf_server.agreement import planned_bytes, read_plan
from gguf_server.errors import CannotListen, ServerDraining, SettingsError
from gguf_server.models.files import check_gguf_file
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.provision import Provision
from gguf_server.settings.environment import engine_environment
from gguf_server.settings.serve import Settings
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.collectors import (
    BuildCollector,
    ProcessCollector,
    StateCollector,
)
from gguf_server.supervisor.gpu import GpuCollector
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess, Patience

if TYPE_CHECKING:
    from gguf_server.api.http import HttpServer

_log = logging.getLogger(__name__)
_TRY_CHAT = (
    "/v1/chat/completions",
    '{"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 64}',
)
_TRY_EMBEDDINGS = ("/v1/embeddings", '{"input": "Why is the sky blue?"}')
_BACKLOG = 2048


async def serve(settings: Settings) -> None:
    """Until a signal ends it. Raises ``StartupError`` when there is nothing to serve any more."""
    for adapter in settings.lora:
        check_gguf_file(Path(adapter.path))
    await Server(settings).run()


class Server:
    """One API process with its engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        plan = read_plan(settings)
        self._process = EngineProcess(
            Provision(
                settings,
                _read_template(settings.chat_template),
                planned_bytes(plan) if plan else (),
            ),
            _patience(settings),
            environment=engine_environment(),
        )
        self._gpus = GpuCollector()
        self._metrics = Metrics(
            BuildCollector(),
            StateCollector(lambda: self._process.status, settings.model_name),
            ProcessCollector(lambda: self._process.pid),
            self._gpus,
        )
        self._client = EngineClient(
            self._process,
            self._metrics,
            max_waiting=settings.max_waiting,
            crash_window_seconds=settings.crash_window_seconds,
        )
        self._api_keys = _api_keys(settings)
        _check_tls(settings.tls_cert, settings.tls_key)
        self._renderer = TemplateRenderer()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Until a signal, or until the engine cannot be kept."""
        listener = listen(self._settings.host, self._settings.port)
        self._gpus.start()
        with self._signals():
            engine = asyncio.create_task(self._process.run())
            # While the engine starts: the web framework takes a third of a second to import.
            http = await asyncio.to_thread(self._http)
            serving = asyncio.create_task(http.serve(sockets=[listener]))
            announcing = asyncio.create_task(self._announce(listener.getsockname()[1]))
            stopping = asyncio.create_task(self._stopping.wait())
            await self._renderer.start()
            await asyncio.wait({engine, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not engine.done():
                await self._drain()
            # What is left are clients that do not read or write: no news for the log.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            http.should_exit = True
            http.force_exit = self._hurry.is_set()
            await serving
        for task in (announcing, stopping, engine):
            task.cancel()
        await self._renderer.aclose()
        _log.info("stopped")
        with contextlib.suppress(asyncio.CancelledError):
            await engine  # raises why the engine could not be kept

    def _http(self) -> "HttpServer":
        from gguf_server.api.http import new_server  # noqa: PLC0415

        return new_server(
            self._settings, self._client, self._renderer, self._metrics, self._api_keys
        )

    async def _announce(self, port: int) -> None:
        """Say where we listen, and once the model is ready how to try it."""
        scheme = "https" if self._settings.tls_cert else "http"
        base = f"{scheme}://{_shown_host(self._settings.host)}:{port}"
        _log.info("listening on %s; loading %s", base, self._settings.source)
        await self._client.ready.wait()
        key = " -H 'Authorization: Bearer YOUR_KEY'" if self._api_keys else ""
        if self._settings.log_format == "json":
            return
        facts = self._client.status.facts
        path, body = _TRY_CHAT if facts is None or facts.generates else _TRY_EMBEDDINGS
        print(  # noqa: T201  (for the person at the terminal)
            f"\nReady. Try:\n  curl {base}{path}{key} "
            f"-H 'Content-Type: application/json' \\\n    -d '{body}'\n",
            flush=True,
        )

    # --- the end -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT starts a drain, a second one ends it."""
        loop = asyncio.get_running_loop()

        def on_signal(name: str) -> None:
            if self._stopping.is_set():
                self._hurry.set()
            _log.info("%s: %s", name, self._farewell())
            self._stopping.set()

        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, on_signal, number.name)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _farewell(self) -> str:
        if self._hurry.is_set():
            return "stopping now"
        count, delay = self._client.num_open, self._settings.drain_delay_seconds
        if not (count or delay):
            return "stopping"
        first = f"accepting requests for {delay:g} s more, then " if delay else ""
        grace = f"within {self._settings.drain_grace_seconds:g} s"
        return f"{first}finishing what is open ({count} now) {grace}; once more to stop now"

    async def _drain(self) -> None:
        """Not ready, still accepting, for the delay; then finish what is open, for the grace.

        Probes are answered all the while.
        """
        self._process.draining = True
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({hurry}, timeout=self._settings.drain_delay_seconds)
        self._client.close()
        idle = asyncio.create_task(self._client.idle.wait())
        await asyncio.wait(
            {idle, hurry},
            timeout=self._settings.drain_grace_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in (idle, hurry):
            task.cancel()
        if self._client.num_open:
            _log.warning("%d requests are cut short", self._client.num_open)
        msg = "the server is shutting down and could not wait for this request any longer"
        self._client.fail_all(ServerDraining(msg, retry_after_seconds=1))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or ``CannotListen`` with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # from now on a probe waits instead of being refused
    except OSError as exc:
        listener.close()
        msg = f"cannot listen on {host} port {port}: {exc.strerror}; take another --port or --host"
        raise CannotListen(msg) from None
    return listener


def _patience(settings: Settings) -> Patience:
    return Patience(
        step_seconds=settings.step_stall_seconds,
        load_seconds=settings.load_stall_seconds,
        max_crashes=settings.max_crashes,
        crash_window_seconds=settings.crash_window_seconds,
    )


def _read_template(path: str) -> str | None:
    return _read_text("--chat-template", path) if path else None


def _api_keys(settings: Settings) -> tuple[str, ...]:
    """Keys from the option and from the file, where # starts a comment line."""
    lines = _read_text("--api-key-file", settings.api_key_file).splitlines()
    stripped = (line.strip() for line in lines)
    keys = settings.api_keys + tuple(key for key in stripped if key and not key.startswith("#"))
    if settings.api_key_file and not keys:
        msg = f"--api-key-file {settings.api_key_file} has no key in it; the API would be open"
        raise SettingsError(msg)
    return keys


def _check_tls(cert: str, key: str) -> None:
    """That uvicorn will be able to use them: it would fail with a traceback."""
    if not cert:
        return
    _read_text("--tls-cert", cert)
    _read_text("--tls-key", key)
    try:
        # An encrypted key must not ask for its password at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as exc:
        fault = "must be a PEM certificate and its private key, without a password"
        if exc.reason == "KEY_VALUES_MISMATCH":
            fault = "do not belong together: the key is that of another certificate"
        msg = f"--tls-cert {cert} and --tls-key {key} {fault}"
        raise SettingsError(msg) from None


def _read_text(flag: str, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        msg = f"{flag} {path} cannot be read: {reason}"
        raise SettingsError(msg) from None


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104  (only what is printed)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
