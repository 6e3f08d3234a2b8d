"""From an error's ``code`` to its HTTP status and OpenAI's envelope; each error is counted here."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gguf_server.api.request_id import error_code
from gguf_server.api.validation import explain
from gguf_server.errors import (
    ChatTemplateError,
    ContextLengthExceeded,
    CrashingRequest,
    EngineDied,
    EngineUnavailable,
    InternalError,
    InvalidApiKey,
    InvalidRequest,
    MethodNotAllowed,
    ModelLoading,
    ModelNotFound,
    NotFound,
    QueueFull,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    ServerDraining,
    UnsupportedParameter,
)

STATUS: Mapping[str, int] = {
    InvalidRequest.code: 400,
    UnsupportedParameter.code: 400,
    CrashingRequest.code: 400,
    ContextLengthExceeded.code: 400,
    ChatTemplateError.code: 400,
    InvalidApiKey.code: 401,
    NotFound.code: 404,
    ModelNotFound.code: 404,
    MethodNotAllowed.code: 405,
    RequestTimeout.code: 408,
    RequestTooLarge.code: 413,
    QueueFull.code: 429,
    InternalError.code: 500,
    EngineDied.code: 500,
    ModelLoading.code: 503,
    EngineUnavailable.code: 503,
    ServerDraining.code: 503,
}

# For OpenAPI's document: what every answer may be instead of the one that was asked for.
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error, as OpenAI's clients expect it",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "error": {
                            "type": "object",
                            "properties": {
                                "message": {"type": "string"},
                                "type": {"type": "string"},
                                "param": {"type": ["string", "null"]},
                                "code": {"enum": sorted(STATUS)},
                            },
                            "required": ["message", "type", "param", "code"],
                        }
                    },
                    "required": ["error"],
                }
            }
        },
    }
}

_SERVER_ERROR = 500
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


def envelope(error: RequestError) -> bytes:
    """``{"error": {...}}`` as OpenAI's clients expect it."""
    status = STATUS[error.code]
    kind = "server_error" if status >= _SERVER_ERROR else "invalid_request_error"
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": _TYPES.get(status, kind),
                "param": error.param,
                "code": error.code,
            }
        }
    )


class ErrorAnswers:
    """What a client gets to see of an error. ``count_error`` is told each one's code, once."""

    def __init__(self, count_error: Callable[[str], None]) -> None:
        self._count_error = count_error

    def response(self, error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
        """The answer to a request that has not been answered yet."""
        self._note(error)
        headers = dict(headers or {})
        if error.retry_after_seconds is not None:
            headers["retry-after"] = str(error.retry_after_seconds)
        if error.code == InvalidApiKey.code:
            headers["www-authenticate"] = "Bearer"
        return Response(envelope(error), STATUS[error.code], headers, "application/json")

    def event(self, error: RequestError) -> bytes:
        """The last event of a stream whose status has already been sent."""
        self._note(error)
        return b"data: " + envelope(error) + b"\n\n"

    def _note(self, error: RequestError) -> None:
        self._count_error(error.code)
        error_code.set(error.code)

    def install(self, app: FastAPI) -> None:
        """Answer everything that is raised inside ``app``."""

        async def on_request_error(_: Request, exc: RequestError) -> Response:
            return self.response(exc)

        async def on_invalid(_: Request, exc: RequestValidationError) -> Response:
            return self.response(explain(exc.errors()))

        async def on_http_error(request: Request, exc: HTTPException) -> Response:
            return self.response(_from_http(request, exc), exc.headers)

        async def on_bug(_: Request, __: Exception) -> Response:
            # uvicorn logs the traceback: the exception goes on after this answer
            return self.response(InternalError("the server made a mistake; its log says which"))

        app.exception_handler(RequestError)(on_request_error)
        app.exception_handler(RequestValidationError)(on_invalid)
        app.exception_handler(HTTPException)(on_http_error)
        app.exception_handler(Exception)(on_bug)


def _from_http(request: Request, exc: HTTPException) -> RequestError:
    where = f"{request.method} {request.url.path}"
    match exc.status_code:
        case 404:
            return NotFound(f"there is nothing at {where}")
        case 405:
            return MethodNotAllowed(f"{where} is not possible; see the Allow header")
        case _:
            return InvalidRequest("the body cannot be read as JSON; it must be UTF-8 and not deep")
