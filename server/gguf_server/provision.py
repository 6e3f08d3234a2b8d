"""From what was asked for to a file to serve: it is there, or it is fetched first."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import structs

from gguf_server.errors import NotFetched
from gguf_server.models.files import check_model_file
from gguf_server.models.meter import Meter
from gguf_server.models.progress import Progress, Report
from gguf_server.models.reference import Reference
from gguf_server.models.sizes import human_bytes, human_seconds
from gguf_server.models.store.store import Missing, Store, Stored
from gguf_server.settings.models import wanted
from gguf_server.settings.serve import Settings
from gguf_server.supervisor.fetching import fetch
from gguf_server.supervisor.preparation import Prepared, Stage
from gguf_server.wire.messages import EngineConfig

_STAMP_SECONDS = 3600.0
_LOG_SECONDS = 30.0
_log = logging.getLogger(__name__)


class Provision:
    """Prepares the engine's model. Raises ``StartupError`` at once for a file that is no good.

    What is here and verified is served without asking the hub; ``gguf-server fetch`` asks it.
    """

    def __init__(
        self,
        settings: Settings,
        chat_template: str | None,
        planned_bytes: tuple[int, ...] = (),
    ) -> None:
        self._settings = settings
        self._planned_bytes = planned_bytes
        self._chat_template = chat_template
        self._source = settings.source
        self._store = Store(settings.models_path)
        self._stamping: asyncio.Task[None] | None = None  # kept, or it would be collected
        if isinstance(self._source, Path):
            check_model_file(self._source)

    async def __call__(self, report: Callable[[Stage], None]) -> Prepared:
        if isinstance(self._source, Path):
            return Prepared(self._config(self._source), self._chat_template)
        stored = await self._stored(self._source, report)
        name = stored.label or stored.path.name
        _log.info("serving %s of %s at commit %s", name, stored.repository, stored.commit)
        self._stamping = asyncio.create_task(self._stamp(stored))
        template = self._chat_template
        if template is None and stored.chat_template is not None:
            template = stored.chat_template.read_text("utf-8")
        return Prepared(self._config(stored.path), template)

    def _config(self, path: Path) -> EngineConfig:
        config = self._settings.engine_config(path)
        return structs.replace(config, planned_bytes=self._planned_bytes)

    async def _stored(self, reference: Reference, report: Callable[[Stage], None]) -> Stored:
        needed = wanted(self._settings, reference)
        loop = asyncio.get_running_loop()

        def tell(progress: Progress) -> None:
            loop.call_soon_threadsafe(report, _stage(progress))

        found = await asyncio.to_thread(self._store.find, reference, needed, Meter(tell))
        if isinstance(found, Stored):
            return found
        _log.info("%s; fetching", found.reason)
        answer = await fetch(self._arguments(reference), _logged(report))
        _log.info("fetched %s", answer.reason)
        for warning in answer.warnings:
            _log.warning("%s", warning)
        found = await asyncio.to_thread(self._store.find, reference, needed)
        if isinstance(found, Missing):
            raise NotFetched(found.reason)
        return found

    def _arguments(self, reference: Reference) -> list[str]:
        settings = self._settings
        arguments = [str(reference), "--to", str(settings.models_path)]
        arguments += ["--tokenizer", settings.tokenizer]
        if settings.quant:
            arguments += ["--quant", ",".join(settings.quant)]
        if settings.max_bytes is not None:
            arguments += ["--max-bytes", str(settings.max_bytes)]
        return [*arguments, "--offline"] if settings.offline else arguments

    async def _stamp(self, stored: Stored) -> None:
        """Again and again: what a server uses is not what ``clean`` may take away."""
        is_writable = True
        while is_writable:
            is_writable = await asyncio.to_thread(self._store.stamp, stored.directory)
            await asyncio.sleep(_STAMP_SECONDS)


def _logged(report: Callable[[Stage], None]) -> Report:
    """In the log, too, now and then: it is what is looked at when a pod does not get ready."""
    last_seconds, last_detail = 0.0, ""

    def tell(progress: Progress) -> None:
        nonlocal last_seconds, last_detail
        stage = _stage(progress)
        report(stage)
        now = time.monotonic()
        is_news = progress.detail != last_detail
        if progress.detail and (is_news or now - last_seconds >= _LOG_SECONDS):
            last_seconds, last_detail = now, progress.detail
            left = stage.remaining_seconds
            _log.info("%s%s", stage.detail, f", {human_seconds(left)} left" if left else "")

    return tell


def _stage(progress: Progress) -> Stage:
    """As ``/startupz`` shows it."""
    detail = f"{progress.stage} {progress.detail}"
    if progress.total_bytes:
        there, total = human_bytes(progress.num_bytes), human_bytes(progress.total_bytes)
        detail += f", {there} of {total}"
    name = "check" if progress.stage == "check" else "fetch"
    return Stage(name, progress.fraction, detail.strip(), progress.remaining_seconds)
