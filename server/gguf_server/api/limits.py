"""How much a client may send, and how slowly: the body is read here and handed on whole."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gguf_server.api.errors import ErrorAnswers
from gguf_server.errors import RequestError, RequestTimeout, RequestTooLarge


class LimitBody:
    """Answers 413 as soon as a body is known to be larger than ``max_bytes``.

    And 408 to one that is not here after ``patience_seconds``.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, patience_seconds: float, errors: ErrorAnswers
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._patience_seconds = patience_seconds
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read_in_time(scope, receive)
        except RequestError as exc:
            # uvicorn discards what still comes; closing would keep the answer from most clients
            headers = {"connection": "close"} if isinstance(exc, RequestTimeout) else None
            await self._errors.response(exc, headers)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replayed(body, receive), send)

    async def _read_in_time(self, scope: Scope, receive: Receive) -> bytes | None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await self._read(scope, receive)
        except TimeoutError:
            msg = f"the body was not here after {self._patience_seconds:g} s; send it faster"
            raise RequestTimeout(msg) from None

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the client left in the middle of it."""
        self._check(_announced_bytes(scope))
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            self._check(len(body))
            if not message.get("more_body", False):
                return bytes(body)

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise RequestTooLarge(f"the body is larger than {self._max_bytes:,} bytes, the limit")


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "content-length" in headers or "transfer-encoding" in headers


def _announced_bytes(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` as if nobody had read the body yet."""
    is_read = False

    async def replay() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
