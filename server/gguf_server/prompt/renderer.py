"""Chat templates rendered in a worker process, because only a process can be stopped."""

import asyncio
import contextlib
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from gguf_server.errors import ChatTemplateError, InternalError, InvalidRequest, QueueFull
from gguf_server.prompt.protocol import (
    MAX_MEMORY_BYTES,
    RESERVED_VARIABLES,
    FromWorker,
    Refused,
    Render,
    Rendered,
)
from gguf_server.wire.framing import FrameReader, FramingError, encode
from gguf_server.wire.messages import ModelFacts

_log = logging.getLogger(__name__)
_READ_BYTES = 1 << 16
_START_SECONDS = 30.0
_MAX_WAITING = 256  # each takes a fraction of a millisecond, unless the template is a bad one
_NO_VARIABLES: Mapping[str, Any] = {}
_WORKER_MODULE = "gguf_server.prompt.worker"


class TemplateRenderer:
    """Renders one conversation at a time.

    The worker starts with the first rendering (or ``start``) and is replaced when it had to be
    killed or died.
    """

    def __init__(self, *, time_limit_seconds: float = 2.0) -> None:
        self._time_limit_seconds = time_limit_seconds
        self._turn = asyncio.Lock()
        self._worker: _Worker | None = None
        self._num_waiting = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Have a worker ready, so that the first request does not wait for one."""
        async with self._turn:
            self._worker = await self._living_worker()

    def template(self, facts: ModelFacts) -> str:
        """The template in use; raises ``ChatTemplateError`` where there is none."""
        template = facts.chat_template
        if not template:
            msg = (
                "the model has no chat template; start the server with --chat-template FILE, "
                "or use /v1/completions"
            )
            raise ChatTemplateError(msg)
        return template

    async def render(
        self,
        messages: Sequence[dict[str, Any]],
        facts: ModelFacts,
        *,
        tools: Sequence[dict[str, Any]] = (),
        variables: Mapping[str, Any] = _NO_VARIABLES,
    ) -> str:
        """The prompt for these messages; raises ``ChatTemplateError``.

        ``tools`` are OpenAI's descriptions of functions, ``variables`` what the template may
        look at besides, such as ``enable_thinking``.
        """
        if taken := sorted(RESERVED_VARIABLES & variables.keys()):
            msg = f"{', '.join(taken)}: these variables of a chat template are the server's own"
            raise InvalidRequest(msg, param="chat_template_kwargs")
        question = Render(
            self.template(facts),
            list(messages),
            facts.bos_token,
            facts.eos_token,
            list(tools),
            dict(variables),
        )
        if self._num_waiting >= _MAX_WAITING:
            msg = f"{self._num_waiting} requests wait for their chat template to be rendered"
            raise QueueFull(msg, retry_after_seconds=math.ceil(self._time_limit_seconds))
        self._num_waiting += 1
        try:
            async with self._turn:
                answer = await self._ask(question)
        finally:
            self._num_waiting -= 1
        if isinstance(answer, Refused):
            raise ChatTemplateError(answer.message)
        return answer.prompt

    async def aclose(self) -> None:
        """End the worker. A rendering that is under way fails."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.kill()

    async def _ask(self, question: Render) -> Rendered | Refused:
        worker = self._worker = await self._living_worker()
        try:
            async with asyncio.timeout(self._time_limit_seconds):
                answer = await worker.ask(question)
        except BaseException as exc:
            # Also when only our caller is gone: a worker in the middle of something is useless.
            self._worker = None
            await worker.kill()
            _log.warning("the template worker was replaced: %s", str(exc) or type(exc).__name__)
            if isinstance(exc, TimeoutError):
                msg = f"the chat template took longer than {self._time_limit_seconds:g} s"
                raise ChatTemplateError(msg) from None
            raise
        return answer

    async def _living_worker(self) -> "_Worker":
        if self._worker is not None and self._worker.is_alive:
            return self._worker
        return await _Worker.start()


class _Worker:
    """One worker process and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._answers: FrameReader[FromWorker] = FrameReader(FromWorker)  # type: ignore[arg-type]

    @classmethod
    async def start(cls) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _WORKER_MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,  # Ctrl-C is ours, also before it can ignore that
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker._answer()
        except BaseException as exc:
            await worker.kill()
            if isinstance(exc, TimeoutError | ChatTemplateError):
                msg = "the process that renders chat templates does not start"
                raise InternalError(msg) from exc
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, question: Render) -> Rendered | Refused:
        self._stdin.write(encode(question))
        with contextlib.suppress(ConnectionError):  # it died; reading says so
            await self._stdin.drain()
        answer = await self._answer()
        assert isinstance(answer, Rendered | Refused)
        return answer

    async def kill(self) -> None:
        if self.is_alive:
            self._process.kill()
        await self._process.wait()

    async def _answer(self) -> FromWorker:
        while data := await self._stdout.read(_READ_BYTES):
            try:
                messages = self._answers.feed(data)
            except FramingError as exc:
                raise ChatTemplateError(_DIED) from exc
            if messages:
                return messages[0]
        raise ChatTemplateError(_DIED)


_DIED = (
    "the chat template ended the process that rendered it "
    f"(it may use {MAX_MEMORY_BYTES // 1024**2} MiB of memory)"
)
