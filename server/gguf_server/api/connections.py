"""How long a client may keep us waiting, and how many may at once. Bodies are in ``limits``."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connections:
    """Makes uvicorn's connections, with two limits that it has not.

    A client that takes longer than ``patience_seconds`` to send the head of a request that it has
    begun, or to make room for what is sent to it, is cut off. When there are more than
    ``max_connections``, whoever has been idle longest makes room: so a probe still gets in.
    """

    def __init__(self, *, patience_seconds: float, max_connections: int) -> None:
        self.patience_seconds = patience_seconds
        self._max_connections = max_connections
        self._idle: dict[_Connection, None] = {}  # the longest idle first

    def __call__(self, **options: Any) -> asyncio.Protocol:
        return _Connection(self, **options)

    def idle(self, connection: "_Connection") -> None:
        self._idle[connection] = None

    def is_idle(self, connection: "_Connection") -> bool:
        return connection in self._idle

    def busy(self, connection: "_Connection") -> None:
        self._idle.pop(connection, None)

    def make_room(self, num_connections: int) -> None:
        if num_connections > self._max_connections:
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.transport.abort()


class _Connection(HttpToolsProtocol):
    """Idle from connecting, and from each answer, until the head of the next request is here."""

    def __init__(self, limits: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._has_begun = False  # the head of a request is here in part
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limits.idle(self)
        self._head_timer = self._abort_later()
        self._limits.make_room(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        self._stop(self._write_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self._limits.is_idle(self):
            self._head_timer = self._abort_later()
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._has_begun = False
        self._stop_expecting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else another request came before this one was answered
            self._limits.idle(self)
            if self._has_begun:
                self._head_timer = self._abort_later()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._abort_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(self._write_timer)

    def _stop_expecting(self) -> None:
        self._limits.busy(self)
        self._stop(self._head_timer)
        self._head_timer = None

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._limits.patience_seconds, self.transport.abort)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
