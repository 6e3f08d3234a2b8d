"""A small streaming client for OpenAI-compatible servers: HTTP/1.1 and server-sent events.

It shares the cores with the servers it measures, hence no HTTP library: reading one event costs
some tens of microseconds. The same client drives every server.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.bench.workloads import Prompt

HTTP_OK = 200


class ClientError(Exception):
    """The server refused, broke off, or answered something that is not HTTP or not JSON."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int
    base_path: str = ""
    tls: bool = False
    model: str = "default"
    api_key: str | None = None

    @classmethod
    def parse(cls, url: str, *, model: str = "default", api_key: str | None = None) -> Endpoint:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ClientError(f"{url!r} is not a server's URL; it looks like http://host:port")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls, model, api_key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request saw; times are seconds of one monotonic clock."""

    submitted_at: float
    finished_at: float
    text_at: tuple[float, ...]
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    error: str | None = None


class EventDecoder:
    """Cuts a byte stream into the data of its events, wherever the network split it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


@dataclass(slots=True)
class Transcript:
    """Collects one stream's events; the server's usage counts the tokens, else the events do."""

    text_at: list[float] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    done: bool = False

    def take(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        event = _object(data)
        if "error" in event:
            raise ClientError(_reason(event))
        if any(_text(choice) for choice in event.get("choices") or ()):
            self.text_at.append(now)
        self.usage = event.get("usage") or self.usage

    def outcome(self, submitted_at: float, finished_at: float, error: str | None) -> Outcome:
        details = self.usage.get("prompt_tokens_details") or {}
        return Outcome(
            submitted_at=submitted_at,
            finished_at=finished_at,
            text_at=tuple(self.text_at),
            num_prompt_tokens=self.usage.get("prompt_tokens", 0),
            num_cached_tokens=details.get("cached_tokens") or 0,
            num_output_tokens=self.usage.get("completion_tokens", len(self.text_at)),
            error=error,
        )


async def stream_chat(endpoint: Endpoint, prompt: Prompt, *, timeout_seconds: float) -> Outcome:
    """Never raises for what a server does: a failed request is an Outcome with an error."""
    transcript = Transcript()
    error: str | None = None
    submitted_at = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_seconds):
            await _converse(endpoint, prompt, transcript)
        error = _complaint(transcript, prompt)
    except TimeoutError:
        error = f"no end after {timeout_seconds:.0f} s"
    except (ClientError, OSError, asyncio.IncompleteReadError, ValueError) as exc:
        error = str(exc) or type(exc).__name__
    return transcript.outcome(submitted_at, time.perf_counter(), error)


async def get(endpoint: Endpoint, path: str) -> tuple[int, bytes]:
    async with _connection(endpoint) as (reader, writer):
        writer.write(_head(endpoint, "GET", path))
        status, headers = await _response(reader)
        return status, b"".join([part async for part in _body(reader, headers)])


async def served_model(endpoint: Endpoint) -> str:
    """The name that the server answers to: some refuse any other."""
    status, answer = await get(endpoint, "/v1/models")
    models = _object(answer).get("data") if status == HTTP_OK else None
    if not models:
        raise ClientError(f"HTTP {status} for the list of models: {answer[:60]!r}")
    return str(models[0]["id"])


def chat_body(endpoint: Endpoint, prompt: Prompt) -> bytes:
    """Greedy, of exact length, with the usage at the end; nothing else departs from defaults."""
    messages = [{"role": each.role, "content": each.content} for each in prompt.messages]
    request = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(request).encode()


async def _converse(endpoint: Endpoint, prompt: Prompt, transcript: Transcript) -> None:
    async with _connection(endpoint) as (reader, writer):
        body = chat_body(endpoint, prompt)
        writer.write(_head(endpoint, "POST", "/v1/chat/completions", len(body)) + body)
        status, headers = await _response(reader)
        if status != HTTP_OK:
            answer = b"".join([part async for part in _body(reader, headers)])
            raise ClientError(f"HTTP {status}: {_reason(_object(answer))}")
        decoder = EventDecoder()
        async for part in _body(reader, headers):
            now = time.perf_counter()
            for data in decoder.feed(part):
                transcript.take(data, now)


@asynccontextmanager
async def _connection(
    endpoint: Endpoint,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = ssl.create_default_context() if endpoint.tls else None
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _head(endpoint: Endpoint, method: str, path: str, num_bytes: int = 0) -> bytes:
    lines = [
        f"{method} {endpoint.base_path}{path} HTTP/1.1",
        f"Host: {endpoint.host}:{endpoint.port}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {num_bytes}",
    ]
    if endpoint.api_key:
        lines.append(f"Authorization: Bearer {endpoint.api_key}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _response(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    try:
        status = int(first.split(b" ", 2)[1])
    except (IndexError, ValueError):
        raise ClientError(f"not an HTTP answer: {first[:60]!r}") from None
    pairs = (line.partition(b":") for line in lines if line)
    return status, {name.lower(): value.strip().lower() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> AsyncIterator[bytes]:
    if headers.get(b"transfer-encoding") == b"chunked":
        while num_bytes := int((await reader.readline()).split(b";")[0], 16):
            yield (await reader.readexactly(num_bytes + 2))[:-2]
    elif b"content-length" in headers:
        yield await reader.readexactly(int(headers[b"content-length"]))
    else:
        while part := await reader.read(1 << 16):
            yield part


def _complaint(transcript: Transcript, prompt: Prompt) -> str | None:
    if not transcript.done:
        return "the stream ended before [DONE]"
    num_tokens = transcript.usage.get("completion_tokens", len(transcript.text_at))
    if num_tokens != prompt.max_tokens:
        return f"answered {num_tokens} of {prompt.max_tokens} tokens"
    return None


def _text(choice: dict[str, Any]) -> str | None:
    delta: dict[str, Any] = choice.get("delta") or {}
    return delta.get("content") or delta.get("reasoning_content")


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise ClientError(f"not JSON: {data[:60]!r}") from None
    return value if isinstance(value, dict) else {}


def _reason(answer: dict[str, Any]) -> str:
    error = answer.get("error", answer)
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
