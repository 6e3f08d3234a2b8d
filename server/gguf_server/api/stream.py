"""Server-sent events, and noticing that nobody reads them any more.

One token of one stream costs one write, so its JSON is made from parts that are built once a
stream, and the ASGI messages are sent from here, without layers in between.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from msgspec import Struct
from starlette.types import Receive, Send

from gguf_server.api.answers import encode

KEEP_ALIVE_SECONDS = 15.0
DONE = b"data: [DONE]\n\n"
_KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events otherwise
]
_PLACEHOLDER = "\u0000text\u0000"  # no model name and no id contains it
# JSON may hold these as they are, but readers that split lines like Python's str would split here.
_LINE_ENDS = {"\u0085": b"\\u0085", "\u2028": b"\\u2028", "\u2029": b"\\u2029"}


def event(data: Struct) -> bytes:
    return b"data: " + encode(data) + b"\n\n"


class TextEvent:
    """An event whose only changing part is a text; ``build`` makes it with any text."""

    def __init__(self, build: Callable[[str], bytes]) -> None:
        self._head, self._tail = build(_PLACEHOLDER).split(encode(_PLACEHOLDER))

    def with_text(self, text: str) -> bytes:
        return b"".join((self._head, json_text(text), self._tail))


def json_text(text: str) -> bytes:
    """``text`` as JSON that is one line to everybody."""
    data = encode(text)
    if not text.isascii():
        for character, escaped in _LINE_ENDS.items():
            data = data.replace(character.encode(), escaped)
    return data


class EventStream:
    """One response of events: headers first, a comment when nothing was sent for a while."""

    def __init__(self, send: Send, keep_alive_seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._send = send
        self._keep_alive_seconds = keep_alive_seconds
        self._loop = asyncio.get_running_loop()
        self._last_sent = 0.0
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        self._last_sent = self._loop.time()
        self._keeper = asyncio.create_task(self._keep_alive())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._keeper is not None
        self._keeper.cancel()

    async def write(self, events: bytes) -> None:
        """Returns when the client has room for more."""
        self._last_sent = self._loop.time()
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def end(self, events: bytes) -> None:
        """The last thing that is sent."""
        assert self._keeper is not None
        self._keeper.cancel()
        await self._send({"type": "http.response.body", "body": events, "more_body": False})

    async def _keep_alive(self) -> None:
        while True:
            silent_seconds = self._loop.time() - self._last_sent
            if silent_seconds >= self._keep_alive_seconds:
                await self.write(_KEEP_ALIVE)
            else:
                await asyncio.sleep(self._keep_alive_seconds - silent_seconds)


class ClientGone(Exception):
    """The client closed the connection; whatever we would send, nobody reads it."""


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Interrupts its body with ``ClientGone`` as soon as the client is gone."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
