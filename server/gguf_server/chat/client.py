"""The server's side of a conversation: httpx, server-sent events, and all that can go wrong."""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError, connect_sse

from gguf_server.endpoint import OK, Endpoint, Refusal, model_names, one_line
from gguf_server.errors import ServerUnusable

_CHAT_PATH = "/v1/chat/completions"
_CONNECT_SECONDS = 10.0
_UNAVAILABLE = 503
_DEFAULT_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event adds; most have only content."""

    content: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    usage: dict[str, Any] | None = None


class NotReady(ServerUnusable):
    """The server is there, but says that it is too early."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ContextFull(ServerUnusable):
    """The conversation is longer than what the model can take."""


class ChatClient:
    """One server, one connection at a time."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {},
            timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
            trust_env=not endpoint.is_loopback,  # a proxy cannot reach this machine's loopback
        )

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[str]:
        response = self._get("/v1/models")
        if response.status_code == _UNAVAILABLE:
            raise self._not_ready(response)
        return model_names(self._endpoint, response.status_code, response.content)

    def progress(self) -> str:
        """How far a load is, of servers that say so; raises where there is no hope."""
        response = self._get("/startupz")
        if response.status_code != _UNAVAILABLE:
            return ""
        try:
            body = response.json()
            message, status = one_line(str(body["message"])), body["status"]
        except (ValueError, TypeError, KeyError):
            return ""
        if status == "failed":
            msg = f"{self._endpoint}: {message}"
            raise ServerUnusable(msg)
        return message

    def answer(self, request: dict[str, Any]) -> Generator[Delta, None, None]:
        """Closing the generator closes the connection, at which a server stops computing."""
        url = self._endpoint.url(_CHAT_PATH)
        try:
            with connect_sse(self._http, "POST", url, json=request) as source:
                if source.response.status_code != OK:
                    source.response.read()
                    raise self._refused(source.response, request["model"])
                yield from self._deltas(source)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._failure(exc) from None

    def _deltas(self, source: EventSource) -> Iterator[Delta]:
        is_finished = False
        try:
            for event in source.iter_sse():
                if event.data == "[DONE]":
                    return
                delta = _delta(json.loads(event.data))
                is_finished = is_finished or bool(delta.finish_reason)
                yield delta
        except SSEError:
            raise Refusal(OK, "", is_json=False).error(self._endpoint) from None
        except (ValueError, TypeError, AttributeError):
            msg = f"{self._endpoint} sent an event that cannot be read"
            raise ServerUnusable(msg) from None
        if not is_finished:
            raise _cut_off()

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._http.get(self._endpoint.url(path))
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._failure(exc) from None

    def _refused(self, response: httpx.Response, model: str) -> ServerUnusable:
        refusal = Refusal.read(response.status_code, response.content)
        if response.status_code == _UNAVAILABLE:
            return self._not_ready(response)
        if refusal.is_context_full:
            return ContextFull(refusal.message)
        return refusal.error(self._endpoint, model)

    def _not_ready(self, response: httpx.Response) -> NotReady:
        try:
            seconds = float(response.headers["retry-after"])
        except (KeyError, ValueError):  # it may also be a date
            seconds = _DEFAULT_RETRY_SECONDS
        message = Refusal.read(response.status_code, response.content).message
        return NotReady(f"{self._endpoint} is not ready: {message}", max(0.0, seconds))

    def _failure(self, exc: Exception) -> ServerUnusable:
        if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
            return self._endpoint.unreachable(exc)
        if isinstance(exc, httpx.TimeoutException):
            msg = f"{self._endpoint} sent nothing for {self._timeout_seconds:g} s"
            return ServerUnusable(msg)
        if isinstance(exc, httpx.RemoteProtocolError | httpx.ReadError):
            return _cut_off()
        return ServerUnusable(f"{self._endpoint}: {one_line(str(exc)) or type(exc).__name__}")


def _cut_off() -> ServerUnusable:
    return ServerUnusable("the answer was cut off: the server closed the connection")


def _delta(event: dict[str, Any]) -> Delta:
    if "error" in event:
        raise ServerUnusable(f"the answer was cut off: {Refusal.of(event).message}")
    choice = (event.get("choices") or [{}])[0]
    delta = choice.get("delta") or {}
    return Delta(
        content=delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        finish_reason=choice.get("finish_reason") or "",
        usage=event.get("usage"),
    )
