"""One request for text, from submission to the last byte: the path of chat and text alike."""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack

from msgspec import UNSET, Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gguf_server.api.answers import Completion, Shape, Streamed, Usage, Whole, encode, usage
from gguf_server.api.errors import ErrorAnswers
from gguf_server.api.schema.generation import GenerationRequest
from gguf_server.api.stream import DONE, ClientGone, EventStream, event, while_connected
from gguf_server.api.submission import Task, submit
from gguf_server.api.together import together
from gguf_server.errors import RequestError
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.generation import Generation

_log = logging.getLogger(__name__)


class GenerationResponse(Response):
    """Submits when it is sent. What the engine refuses is raised before anything is written.

    The choices are those of the first prompt, then those of the second.
    """

    def __init__(
        self,
        engine: EngineClient,
        errors: ErrorAnswers,
        shape: Shape,
        request: GenerationRequest,
        tasks: Callable[[], Awaitable[Sequence[Task]]],
        model_name: str,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._errors = errors
        self._shape = shape
        self._request = request
        self._tasks = tasks
        self._model_name = model_name
        self._id = shape.id_prefix + secrets.token_hex(12)
        self._created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with while_connected(receive), AsyncExitStack() as open_sequences:
                tasks = await self._tasks()
                prompts = await submit(self._engine, self._request, tasks, open_sequences)
                if self._request.stream:
                    await self._stream(send, tasks, prompts)
                else:
                    response = await self._whole(tasks, prompts)
                    await response(scope, receive, send)
        except ClientGone:
            _log.debug("the client of %s is gone", self._id)

    def _choices(
        self, tasks: Sequence[Task], prompts: Sequence[Sequence[Generation]]
    ) -> Iterable[tuple[int, Task, Generation]]:
        for number, (task, sequences) in enumerate(zip(tasks, prompts, strict=True)):
            for index, generation in enumerate(sequences):
                yield number * self._request.n + index, task, generation

    # --- at once -----------------------------------------------------------------------------

    async def _whole(
        self, tasks: Sequence[Task], prompts: Sequence[Sequence[Generation]]
    ) -> Response:
        choices = await together(
            _collect(task.answers.whole(index), generation)
            for index, task, generation in self._choices(tasks, prompts)
        )
        whole = Completion(
            self._id, self._shape.object, self._created, self._model_name, choices, usage(prompts)
        )
        return Response(encode(whole), media_type="application/json")

    # --- as it comes -------------------------------------------------------------------------

    async def _stream(
        self, send: Send, tasks: Sequence[Task], prompts: Sequence[Sequence[Generation]]
    ) -> None:
        async with EventStream(send) as stream:
            try:
                await together(
                    _stream_one(stream, task.answers.streamed(index, self._event_of), generation)
                    for index, task, generation in self._choices(tasks, prompts)
                )
            except RequestError as exc:
                # No [DONE] after it: a client that overlooks the error still sees a broken end.
                await stream.end(self._errors.event(exc))
                return
            last = DONE
            if self._request.include_usage:
                last = event(self._part([], usage(prompts))) + DONE
            await stream.end(last)

    def _event_of(self, choice: Struct) -> bytes:
        return event(self._part([choice]))

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


async def _collect(answer: Whole, generation: Generation) -> Struct:
    async for delta in generation:
        answer.push(delta)
    return answer.finish(generation.finish_reason)


async def _stream_one(stream: EventStream, answer: Streamed, generation: Generation) -> None:
    while (delta := await generation.next()) is not None:
        if events := answer.push(delta):
            await stream.write(events)
    await stream.write(answer.finish(generation.finish_reason))
