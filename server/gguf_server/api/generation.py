"""One request for text, from submission to the last byte: the path of chat and text alike."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from msgspec import UNSET, Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gguf_server.api.answers import Completion, Shape, Usage, encode, usage
from gguf_server.api.errors import ErrorAnswers
from gguf_server.api.schema import GenerationRequest
from gguf_server.api.stream import (
    DONE,
    ClientGone,
    EventStream,
    TextEvent,
    event,
    while_connected,
)
from gguf_server.errors import InvalidRequest, QueueFull, RequestError
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.generation import Generation

_log = logging.getLogger(__name__)

T = TypeVar("T")


class GenerationResponse(Response):
    """Submits when it is sent. What the engine refuses is raised before anything is written."""

    def __init__(
        self,
        engine: EngineClient,
        errors: ErrorAnswers,
        shape: Shape,
        request: GenerationRequest,
        prompt: Callable[[], Awaitable[str | tuple[int, ...]]],
        model_name: str,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._errors = errors
        self._shape = shape
        self._request = request
        self._prompt = prompt
        self._model_name = model_name
        self._id = shape.id_prefix + secrets.token_hex(12)
        self._created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with while_connected(receive), AsyncExitStack() as open_sequences:
                prompt = await self._prompt()
                generations = await self._submit(open_sequences, prompt)
                if self._request.stream:
                    await self._stream(send, generations)
                else:
                    await self._send_whole(generations, scope, receive, send)
        except ClientGone:
            _log.debug("the client of %s is gone", self._id)

    async def _submit(
        self, open_sequences: AsyncExitStack, prompt: str | tuple[int, ...]
    ) -> list[Generation]:
        """All ``n`` sequences, accepted by the engine, or none."""
        if self._request.n > self._engine.capacity:
            msg = f"n={self._request.n} can never run: {self._engine.capacity} requests may be open"
            raise InvalidRequest(msg, param="n")
        generations: list[Generation] = []
        for index in range(self._request.n):
            try:
                generation = self._engine.generate(
                    prompt=prompt,
                    max_tokens=self._request.token_limit,
                    stop=tuple(self._request.stop),
                    sampling=self._request.sampling(index),
                )
            except QueueFull as exc:
                raise self._no_room(index, exc) from exc
            generations.append(await open_sequences.enter_async_context(generation))
        for generation in generations:
            await generation.accepted()
        return generations

    def _no_room(self, num_submitted: int, error: QueueFull) -> QueueFull:
        if num_submitted == 0:
            return error
        msg = f"n={self._request.n} needs as many places, {num_submitted} were free: {error}"
        return QueueFull(msg, param="n", retry_after_seconds=error.retry_after_seconds)

    # --- at once -----------------------------------------------------------------------------

    async def _send_whole(
        self, generations: Sequence[Generation], scope: Scope, receive: Receive, send: Send
    ) -> None:
        texts = await _together(_text_of(each) for each in generations)
        choices = [
            self._shape.choice(index, text, generation.finish_reason)
            for index, (text, generation) in enumerate(zip(texts, generations, strict=True))
        ]
        whole = Completion(
            self._id,
            self._shape.object,
            self._created,
            self._model_name,
            choices,
            usage(generations),
        )
        response = Response(encode(whole), media_type="application/json")
        await response(scope, receive, send)

    # --- as it comes -------------------------------------------------------------------------

    async def _stream(self, send: Send, generations: Sequence[Generation]) -> None:
        async with EventStream(send) as stream:
            try:
                await _together(
                    self._stream_one(stream, index, each) for index, each in enumerate(generations)
                )
            except RequestError as exc:
                # No [DONE] after it: a client that overlooks the error still sees a broken end.
                await stream.end(self._errors.event(exc))
                return
            last = DONE
            if self._request.include_usage:
                last = event(self._part([], usage(generations))) + DONE
            await stream.end(last)

    async def _stream_one(self, stream: EventStream, index: int, generation: Generation) -> None:
        text_event = TextEvent(lambda text: self._part([self._shape.delta(index, text)]))
        opening = event(self._part([self._shape.opening(index)])) if self._shape.opening else b""
        while (text := await generation.next()) is not None:
            await stream.write(opening + text_event.with_text(text))
            opening = b""
        finish = self._shape.finish(index, generation.finish_reason)
        await stream.write(opening + event(self._part([finish])))

    def _part(self, choices: Sequence[Struct], used: Usage | None = None) -> Completion:
        """One event. With ``include_usage`` each has a usage, null in all but the last."""
        return Completion(
            self._id,
            self._shape.event_object,
            self._created,
            self._model_name,
            choices,
            used if self._request.include_usage else UNSET,
        )


async def _text_of(generation: Generation) -> str:
    return "".join([text async for text in generation])


async def _together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """All results in order; the first error ends the others."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
