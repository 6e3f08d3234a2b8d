"""Where an OpenAI-compatible server is, and what its refusals mean: for chat and bench."""

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlsplit

from gguf_server.errors import ServerUnusable, SettingsError

OK = 200
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_BAD_REQUEST = 400
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_MESSAGE = 300
_NETWORK_REASONS: Mapping[type[BaseException], str] = {
    ConnectionRefusedError: "connection refused",
    socket.gaierror: "there is no such host",
    TimeoutError: "no connection in time",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``http://host:8000`` and ``http://host:8000/v1`` are the same; a prefix before /v1 stays."""

    host: str
    port: int
    base_path: str = ""
    tls: bool = False
    api_key: str = ""

    @classmethod
    def parse(cls, url: str, api_key: str = "") -> Self:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # a port that is no number, half an IPv6 address
            parts, port = urlsplit(""), None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            msg = f"{url!r} is not a server's URL; it looks like http://host:8000"
            raise SettingsError(msg)
        if not (api_key.isascii() and api_key.isprintable()):
            msg = "the API key has characters that no HTTP header can carry"
            raise SettingsError(msg)
        base_path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(
            parts.hostname,
            port or _DEFAULT_PORTS[parts.scheme],
            base_path,
            parts.scheme == "https",
            api_key,
        )

    @property
    def authority(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.host in {"localhost", "127.0.0.1", "::1"}

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.base_path}{path}"

    def __str__(self) -> str:
        return self.url("")

    def unreachable(self, cause: BaseException) -> ServerUnusable:
        """No answer at all."""
        advice = "; `gguf-server serve` starts one" if self.is_loopback else "; is the URL right?"
        return ServerUnusable(f"no server answers at {self}: {_network_reason(cause)}{advice}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than 200, or an error event in a stream (then without a status)."""

    status: int
    message: str
    code: str = ""
    is_json: bool = True

    @classmethod
    def read(cls, status: int, body: bytes) -> Self:
        """Whatever the server sent; not all of them send OpenAI's envelope."""
        try:
            answer = json.loads(body)
        except ValueError:
            return cls(status, one_line(body.decode(errors="replace")), is_json=False)
        return replace(cls.of(answer), status=status)

    @classmethod
    def of(cls, answer: Any) -> Self:
        error = answer.get("error", answer) if isinstance(answer, dict) else answer
        if not isinstance(error, dict):
            return cls(0, one_line(str(error)))
        message = one_line(str(error.get("message") or error.get("detail") or error))
        return cls(0, message, str(error.get("code") or ""))

    @property
    def is_context_full(self) -> bool:
        """The codes differ between servers; the word does not."""
        return self.status == _BAD_REQUEST and "context" in f"{self.code} {self.message}".lower()

    def error(self, endpoint: Endpoint, model: str = "") -> ServerUnusable:
        """One line: what is wrong, and what to do."""
        return ServerUnusable(self._line(endpoint, model))

    def _line(self, endpoint: Endpoint, model: str) -> str:
        if self.status in (_UNAUTHORIZED, _FORBIDDEN):
            what = "refuses this API key" if endpoint.api_key else "asks for an API key"
            return (
                f"{endpoint} {what} (HTTP {self.status}); "
                "give one with --api-key or in OPENAI_API_KEY"
            )
        if self.status == _NOT_FOUND and model and self.is_json and "model" in self.message.lower():
            return f"{endpoint} has no model {model!r}: {self.message}"
        if self.status == _NOT_FOUND or not self.is_json:
            return (
                f"{endpoint} does not answer as an OpenAI-compatible server "
                f"(HTTP {self.status}); is the URL right?"
            )
        return f"{endpoint} answered HTTP {self.status}: {self.message}"


def model_names(endpoint: Endpoint, status: int, body: bytes) -> list[str]:
    """From the answer of /v1/models."""
    if status != OK:
        raise Refusal.read(status, body).error(endpoint)
    try:
        names = [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, TypeError, KeyError):
        raise Refusal(status, "", is_json=False).error(endpoint) from None
    if not names:
        msg = f"{endpoint} lists no models; name one with --model"
        raise ServerUnusable(msg)
    return names


def one_line(text: str) -> str:
    """What strangers send may be long, and may try to drive a terminal."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + " ..."


def _network_reason(exc: BaseException) -> str:
    """Libraries wrap the error of the socket, with words that help nobody."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted, {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return "what is there does not speak HTTPS, perhaps HTTP"
        for kind, words in _NETWORK_REASONS.items():
            if isinstance(cause, kind):
                return words
        cause = cause.__cause__ or cause.__context__
    text = one_line(str(exc))
    return "connection refused" if "Connect call failed" in text else text or type(exc).__name__
