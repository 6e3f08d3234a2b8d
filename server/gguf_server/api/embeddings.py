"""``/v1/embeddings``: vectors of texts."""

import asyncio
import logging
import struct
from base64 import b64encode
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter
from msgspec import Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gguf_server.api.answers import encode
from gguf_server.api.models import ServedModel
from gguf_server.api.schema.embeddings import EmbeddingsRequest
from gguf_server.api.schema.prompts import Prompt
from gguf_server.api.stream import ClientGone, while_connected
from gguf_server.api.submission import located
from gguf_server.api.together import together
from gguf_server.errors import InvalidRequest, QueueFull
from gguf_server.supervisor.client import EngineClient
from gguf_server.wire.messages import Embedded, ModelFacts

_log = logging.getLogger(__name__)
_FULL_SECONDS = 0.05  # until the next try to get a place


class Embedding(Struct, frozen=True):
    index: int
    embedding: msgspec.Raw
    object: str = "embedding"


class EmbeddingsUsage(Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class Embeddings(Struct, frozen=True):
    data: Sequence[Embedding]
    model: str
    usage: EmbeddingsUsage
    object: str = "list"


def embeddings_router(engine: EngineClient, served: ServedModel) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(body: EmbeddingsRequest) -> Response:
        served.require(body.model)
        facts = engine.require_engine()
        _require_vectors(facts)
        num_at_once = min(facts.slots, len(body.input))
        return EmbeddingsResponse(engine, body, num_at_once, served.name)

    return router


def _require_vectors(facts: ModelFacts) -> None:
    if facts.embedding_size == 0:
        msg = "this server computes no embeddings; start the server with --embeddings on"
        raise InvalidRequest(msg, param="model")


class EmbeddingsResponse(Response):
    """Keeps only some inputs of its request open at once, so that others get their turn."""

    def __init__(
        self, engine: EngineClient, request: EmbeddingsRequest, num_at_once: int, model_name: str
    ) -> None:
        super().__init__()
        self._engine = engine
        self._request = request
        self._num_at_once = num_at_once
        self._model_name = model_name
        self._inputs = enumerate(request.input)
        self._num_open = 0
        self._done: list[Embedding] = []
        self._num_tokens = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with while_connected(receive):
                await together(self._work() for _ in range(self._num_at_once))
                await self._answer()(scope, receive, send)
        except ClientGone:
            _log.debug("a client that wanted embeddings is gone")

    async def _work(self) -> None:
        for index, prompt in self._inputs:  # shared by all who work
            with located(f"input[{index}]" if len(self._request.input) > 1 else ""):
                answer = await self._embed(prompt)
            self._num_tokens += answer.num_tokens
            # Written now, not all at the end: numbers take their time.
            self._done.append(Embedding(index, self._written(answer.vector)))

    async def _embed(self, prompt: Prompt) -> Embedded:
        """A request that has begun waits where a new one would be refused."""
        while True:
            self._num_open += 1
            try:
                return await self._engine.embed(prompt, self._request.dimensions)
            except QueueFull:
                if self._num_open == 1 and not self._done:
                    raise
            finally:
                self._num_open -= 1
            await asyncio.sleep(_FULL_SECONDS)

    def _written(self, vector: bytes) -> msgspec.Raw:
        if self._request.encoding_format == "base64":
            return msgspec.Raw(encode(b64encode(vector).decode()))
        return msgspec.Raw(encode(struct.unpack(f"<{len(vector) // 4}f", vector)))

    def _answer(self) -> Response:
        body = Embeddings(
            sorted(self._done, key=lambda each: each.index),
            self._model_name,
            EmbeddingsUsage(self._num_tokens, self._num_tokens),
        )
        return Response(encode(body), media_type="application/json")
