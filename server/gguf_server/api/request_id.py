"""Every request has an id, in its log lines and on its answer, and a line when it is over."""

import logging
import re
import secrets
import time
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gguf_server.logs import request_id

_log = logging.getLogger("gguf_server.access")
HEADER = "x-request-id"
# What went wrong with the request, also after a status of 200; for its line in the log.
error_code: ContextVar[str] = ContextVar("error_code", default="")
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class WithRequestId:
    """Takes the client's id if it can stand in a log, else makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        current = given if _SANE.fullmatch(given) else f"req-{secrets.token_hex(12)}"
        request_id.set(current)  # each request runs in a context of its own

        began = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = current
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            _log_access(scope, status, time.monotonic() - began)


def _log_access(scope: Scope, status: int, seconds: float) -> None:
    """One line a request; for probes and scrapes, which come all the time, only to debug."""
    level = logging.INFO if scope["method"] == "POST" else logging.DEBUG
    outcome = f"{status} {error_code.get()}".rstrip() if status else "no answer, the client is gone"
    _log.log(level, "%s %s: %s, %.2f s", scope["method"], scope["path"], outcome, seconds)
