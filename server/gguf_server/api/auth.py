"""API keys. Probes, metrics and the version stay open: their readers have no key to give."""

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gguf_server.api.errors import ErrorAnswers
from gguf_server.errors import InvalidApiKey

_OPEN_PATHS = frozenset({"/livez", "/readyz", "/startupz", "/health", "/metrics", "/version"})


class RequireApiKey:
    """Answers 401 to whoever does not send one of ``keys`` as a bearer token."""

    def __init__(self, app: ASGIApp, keys: Iterable[str], errors: ErrorAnswers) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            given = Headers(scope=scope).get("authorization", "")
            if not self._is_valid(given):
                error = InvalidApiKey(
                    "a valid API key is missing; send 'Authorization: Bearer KEY'"
                )
                await self._errors.response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_valid(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip())
        # Digests have one length, and all keys are compared: time tells nothing about any.
        matches = [hmac.compare_digest(given, each) for each in self._digests]
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
