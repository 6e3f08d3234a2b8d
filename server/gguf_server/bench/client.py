"""Streams one chat answer and notes when its texts came. The same client drives every server."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gguf_server.bench.http import BrokenAnswer, request
from gguf_server.bench.workloads import Prompt
from gguf_server.endpoint import OK, Endpoint, Refusal

CHAT_PATH = "/v1/chat/completions"
_GET_TIMEOUT_SECONDS = 30.0  # such answers are not computed


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and how."""

    endpoint: Endpoint
    model: str
    timeout_seconds: float = 600.0
    # Answers of exactly the length asked for: an extension that some servers refuse.
    ignore_eos: bool = True
    # How tokens are chosen; greedy makes two runs say the same.
    sampling: Mapping[str, float] = field(default_factory=lambda: {"temperature": 0})
    # What else keeps an answer from ending early, for servers that ignore ``ignore_eos``.
    logit_bias: Mapping[str, float] = field(default_factory=dict)
    # How a schema is asked for: OpenAI's way, or the one that came before.
    schema_type: Literal["json_schema", "json_object"] = "json_schema"


@dataclass(frozen=True, slots=True)
class Failure:
    """``kind`` is one of few words, to be counted; the message is the first thing to read."""

    kind: str
    message: str


class RequestFailed(Exception):
    """Ends one request; it becomes the failure of its outcome."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(kind, message)


class Refused(RequestFailed):
    """The server answered, with another status than 200."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"HTTP {refusal.status}", f"HTTP {refusal.status}: {refusal.message}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request saw; times are seconds of one monotonic clock."""

    submitted_at: float
    finished_at: float
    text_at: tuple[float, ...]
    text: str = ""
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    num_missing_tokens: int = 0
    failure: Failure | None = None


class EventDecoder:
    """Cuts a byte stream into the data of its events, wherever the network split it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


@dataclass(slots=True)
class Transcript:
    """Collects one stream's events; the server's usage counts the tokens. Without one the length
    asked for does where it ended the answer, else the events do."""

    texts: list[str] = field(default_factory=list)
    text_at: list[float] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    is_full_length: bool = False
    done: bool = False

    def take(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        event = _object(data)
        if "error" in event:
            raise RequestFailed("error event", Refusal.of(event).message)
        choices = event.get("choices") or ()
        self.is_full_length |= any(each.get("finish_reason") == "length" for each in choices)
        if text := "".join(_text(choice) or "" for choice in choices):
            self.texts.append(text)
            self.text_at.append(now)
        self.usage = event.get("usage") or self.usage

    def outcome(self, prompt: Prompt, submitted_at: float, failure: Failure | None) -> Outcome:
        details = self.usage.get("prompt_tokens_details") or {}
        uncounted = prompt.max_tokens if self.is_full_length else len(self.text_at)
        num_output_tokens = self.usage.get("completion_tokens", uncounted)
        is_exact = prompt.schema is None and "completion_tokens" in self.usage
        return Outcome(
            submitted_at=submitted_at,
            finished_at=time.perf_counter(),
            text_at=tuple(self.text_at),
            text="".join(self.texts),
            num_prompt_tokens=self.usage.get("prompt_tokens", 0),
            num_cached_tokens=details.get("cached_tokens") or 0,
            num_output_tokens=num_output_tokens,
            num_missing_tokens=prompt.max_tokens - num_output_tokens
            if is_exact and failure is None
            else 0,
            failure=failure,
        )


async def stream_chat(target: Target, prompt: Prompt) -> Outcome:
    """Never raises for what a server does: a failed request is an Outcome with its failure."""
    transcript = Transcript()
    failure: Failure | None = None
    submitted_at = time.perf_counter()
    try:
        await converse(target, prompt, transcript)
    except RequestFailed as exc:
        failure = exc.failure
    except BrokenAnswer as exc:
        failure = Failure("broken answer", str(exc))
    except OSError as exc:
        failure = Failure("no connection", target.endpoint.unreachable(exc).message)
    return transcript.outcome(prompt, submitted_at, failure)


async def converse(target: Target, prompt: Prompt, transcript: Transcript) -> None:
    """One request, to its very end."""
    body = chat_body(target, prompt)
    try:
        async with (
            asyncio.timeout(target.timeout_seconds),
            request(target.endpoint, "POST", CHAT_PATH, body) as response,
        ):
            if response.status != OK:
                raise Refused(Refusal.read(response.status, await response.body()))
            decoder = EventDecoder()
            async for part in response.parts():
                now = time.perf_counter()
                for data in decoder.feed(part):
                    transcript.take(data, now)
    except TimeoutError:
        raise RequestFailed("timeout", f"no end after {target.timeout_seconds:g} s") from None
    if not transcript.done:
        raise RequestFailed("broken answer", "the stream ended before [DONE]")
    if prompt.schema is not None:
        _check_form("".join(transcript.texts), prompt.schema)


async def get(endpoint: Endpoint, path: str) -> tuple[int, bytes]:
    async with (
        asyncio.timeout(_GET_TIMEOUT_SECONDS),
        request(endpoint, "GET", path) as response,
    ):
        return response.status, await response.body()


def chat_body(target: Target, prompt: Prompt) -> bytes:
    """Of exact length, or by a schema; with the usage at the end. Nothing else departs from
    defaults."""
    wanted: dict[str, Any] = {
        "model": target.model,
        "messages": [{"role": each.role, "content": each.content} for each in prompt.messages],
        "max_tokens": prompt.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **target.sampling,
    }
    if prompt.schema is not None:
        wanted["response_format"] = _response_format(target, prompt.schema)
    else:
        wanted |= {"ignore_eos": True} if target.ignore_eos else {}
        wanted |= {"logit_bias": dict(target.logit_bias)} if target.logit_bias else {}
    return json.dumps(wanted).encode()


def _response_format(target: Target, schema: Mapping[str, Any]) -> dict[str, Any]:
    if target.schema_type == "json_object":
        return {"type": "json_object", "schema": schema}
    wanted = {"name": "answer", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": wanted}


def _check_form(text: str, schema: Mapping[str, Any]) -> None:
    """Is it whole, and has it the right keys: what a server that ignores schemas gets wrong."""
    try:
        answer = json.loads(text)
    except ValueError:
        raise RequestFailed("not the schema's", f"not JSON: {text[:60]!r}") from None
    if not isinstance(answer, dict) or set(answer) != set(schema["properties"]):
        raise RequestFailed("not the schema's", f"other keys: {text[:60]!r}")


def _text(choice: dict[str, Any]) -> str | None:
    delta: dict[str, Any] = choice.get("delta") or {}
    return delta.get("content") or delta.get("reasoning_content")


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise RequestFailed("broken answer", f"an event is not JSON: {data[:60]!r}") from None
    return value if isinstance(value, dict) else {}
