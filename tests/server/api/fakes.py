"""A stand-in for the engine client, and a real server in front of it."""

import asyncio
import codecs
import re
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
import uvicorn

from gguf_server.api.app import create_app
from gguf_server.api.connections import Connections
from gguf_server.errors import InvalidRequest, ModelLoading, QueueFull, RequestError
from gguf_server.prompt.output import Content, Piece, Reasoning, ToolCall
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.generation import Generation
from gguf_server.supervisor.status import State
from gguf_server.wire.messages import (
    Constraint,
    Embedded,
    FinishReason,
    LikelyToken,
    ModelFacts,
    SamplingParams,
    TokenLogprob,
)
from tests import facts

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
MODEL_NAME = "org/model:Q8_0"
NUM_CACHED_TOKENS = 3

FACTS = msgspec.structs.replace(
    facts.FACTS,
    vocab_size=49152,
    train_context_tokens=8192,
    context_tokens=4096,
    slots=8,
    bos_token="<s>",
    eos_token="</s>",
    chat_template=TEMPLATE,
)

READY = replace(facts.READY, facts=FACTS)
LOADING = replace(
    READY,
    state=State.LOADING,
    ever_ready=False,
    stage="weights",
    fraction=0.42,
    elapsed_seconds=12.34,
    remaining_seconds=17.04,
    facts=None,
)


@dataclass
class Submitted:
    """One call of ``generate``, and what became of it."""

    prompt: str | tuple[int, ...]
    max_tokens: int | None
    stop: tuple[str, ...]
    sampling: SamplingParams
    constraint: Constraint | None
    prompt_logprobs: bool
    show_special: bool
    generation: Generation
    cancelled: bool = False
    left: bool = False


def scored(piece: str | bytes, logprob: float | None = -0.5, num: int = 0) -> TokenLogprob:
    """A token, and ``num`` of the likeliest ones, among which only the first is above -1."""
    raw = piece.encode() if isinstance(piece, str) else piece
    if logprob is None:
        return TokenLogprob(0, raw, None, ())
    best = LikelyToken(0, raw, logprob) if logprob >= -0.5 else LikelyToken(0, b"#0", -0.5)
    others = [LikelyToken(rank, f"#{rank}".encode(), -1.0 - rank) for rank in range(1, num)]
    return TokenLogprob(0, raw, logprob, tuple([best, *others][:num]))


_NOTATION = re.compile(r"<think>(?P<think>.+?)</think>|<call>(?P<call>.+?)</call>|(?P<text>[^<]+)")


class TagParser:
    """Knows ``<think>...</think>`` and ``<call>ARGUMENTS</call>``; every call is of add."""

    def __init__(self) -> None:
        self._text = ""
        self._num_calls = 0

    def push(self, text: str) -> list[Piece]:
        self._text += text
        pieces = []
        while found := _NOTATION.match(self._text):
            self._text = self._text[found.end() :]
            pieces.append(self._piece(found))
        return pieces

    def finish(self) -> list[Piece]:
        return [Content(self._text)] if self._text else []

    def _piece(self, found: re.Match[str]) -> Piece:
        if found["think"]:
            return Reasoning(found["think"])
        if found["call"]:
            self._num_calls += 1
            return ToolCall(f"call_{self._num_calls}", "add", found["call"])
        return Content(found["text"])


class FakeEngine:
    """Answers every request with ``pieces``; with None a test says what happens."""

    def __init__(self, pieces: Sequence[str | bytes] | None = ("Hello", " world")) -> None:
        self.status = READY
        self.pieces = pieces
        self.bos = ""
        self.finish_reason: FinishReason = "stop"
        self.capacity = 1000
        self.free_places = 1000
        self.rejection: RequestError | None = None
        self.submitted: list[Submitted] = []
        self.embedded: list[str | tuple[int, ...]] = []
        self.embed_gate = asyncio.Event()
        self.embed_gate.set()
        self.num_embedding = 0
        self.most_embedding = 0

    def generate(
        self,
        *,
        prompt: str | tuple[int, ...],
        max_tokens: int | None,
        stop: tuple[str, ...],
        sampling: SamplingParams,
        constraint: Constraint | None = None,
        prompt_logprobs: bool = False,
        show_special: bool = False,
    ) -> Generation:
        if len(self.submitted) >= self.free_places:
            msg = f"{self.free_places} requests are running or waiting"
            raise QueueFull(msg, retry_after_seconds=7)
        generation = Generation(len(self.submitted), 0.0, self._leave)
        submitted = Submitted(
            prompt,
            max_tokens,
            stop,
            sampling,
            constraint,
            prompt_logprobs,
            show_special,
            generation,
        )
        self.submitted.append(submitted)
        if self.rejection is not None:
            generation.fail(self.rejection)
        elif self.pieces is not None:
            generation.accept(10)
            generation.start(NUM_CACHED_TOKENS, 0.0)
            self._answer(submitted, self.pieces)
        return generation

    def _answer(self, submitted: Submitted, pieces: Sequence[str | bytes]) -> None:
        generation = submitted.generation
        num = submitted.sampling.num_logprobs
        if submitted.prompt_logprobs:
            assert num is not None
            generation.add_prompt(self._scored_prompt(submitted.prompt, num))
        if submitted.max_tokens == 0:
            generation.finish("length")
            return
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        for piece in pieces:
            raw = piece.encode() if isinstance(piece, str) else piece
            generation.add(decode(raw), 1, 0.0, () if num is None else (scored(raw, -0.5, num),))
        generation.finish(self.finish_reason)

    def _scored_prompt(self, prompt: str | tuple[int, ...], num: int) -> list[TokenLogprob]:
        """A token for each character, as ``detokenize`` has them."""
        if isinstance(prompt, str):
            pieces = [self.bos, *prompt] if self.bos else list(prompt)
        else:
            pieces = [chr(token) for token in prompt]
        first, *others = pieces
        return [
            scored(first, None),
            *(scored(each, -0.25 * at, num) for at, each in enumerate(others, 1)),
        ]

    async def embed(self, input: str | tuple[int, ...], dimensions: int | None) -> Embedded:  # noqa: A002
        """A vector that tells which input it is of."""
        if self.num_embedding >= self.free_places:
            raise QueueFull("full", retry_after_seconds=7)
        self.embedded.append(input)
        self.num_embedding += 1
        self.most_embedding = max(self.most_embedding, self.num_embedding)
        try:
            await self.embed_gate.wait()
            await asyncio.sleep(0)
        finally:
            self.num_embedding -= 1
        if input in ("", ()):
            raise InvalidRequest("the input is empty", param="input")
        vector = [float(len(input)), -0.5, 0.1][:dimensions]
        return Embedded(0, len(input), struct.pack(f"<{len(vector)}f", *vector))

    def require_engine(self) -> ModelFacts:
        if self.status.facts is None:
            raise ModelLoading("the model is still loading", retry_after_seconds=17)
        return self.status.facts

    async def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool
    ) -> tuple[int, ...]:
        ids = tuple(ord(letter) for letter in text)
        return (1, *ids) if add_special else ids

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        if any(token >= FACTS.vocab_size for token in tokens):
            raise InvalidRequest("a token id is outside the vocabulary")
        return "".join(chr(token) for token in tokens)

    def _leave(self, generation: Generation) -> None:
        submitted = self.submitted[generation.id]
        submitted.left = True
        submitted.cancelled = not generation.is_over


@dataclass
class Server:
    """Where the server listens, and which errors it has counted."""

    url: str
    errors: list[str]


@asynccontextmanager
async def serving(engine: FakeEngine, **options: Any) -> AsyncIterator[Server]:
    """The application behind a real uvicorn on a free port."""
    errors: list[str] = []
    connections = Connections(
        patience_seconds=options.get("patience_seconds", 30),
        max_connections=options.pop("max_connections", 1000),
    )
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        app = create_app(
            engine=cast("EngineClient", engine),
            renderer=renderer,
            count_error=errors.append,
            **{
                "model_name": MODEL_NAME,
                "model_created": 1_700_000_000,
                "api_keys": (),
                "cors_origins": (),
                "max_body_bytes": 1 << 20,
                "patience_seconds": 30,
                "metrics_text": lambda: b"gguf_server_up 1\n",
                "response_counter": lambda path, status: lambda: None,
                **options,
            },
        )
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, http=cast("Any", connections), ws="none", lifespan="off",
            log_config=None, access_log=False, timeout_keep_alive=600, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield Server(f"http://127.0.0.1:{port}", errors)
        finally:
            server.should_exit = True
            await task


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must become true soon."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- it is about any condition
            await asyncio.sleep(0.002)
