"""``/tokenize`` and ``/detokenize``, as llama-server has them."""

from fastapi import APIRouter
from starlette.responses import Response

from gguf_server.api.answers import encode
from gguf_server.api.schema.tokens import DetokenizeRequest, TokenizeRequest
from gguf_server.supervisor.client import EngineClient


def tokens_router(engine: EngineClient) -> APIRouter:
    router = APIRouter()

    @router.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> Response:
        tokens = await engine.tokenize(
            body.content, add_special=body.add_special, parse_special=body.parse_special
        )
        return Response(encode({"tokens": tokens}), media_type="application/json")

    @router.post("/detokenize")
    async def detokenize(body: DetokenizeRequest) -> Response:
        content = await engine.detokenize(tuple(body.tokens))
        return Response(encode({"content": content}), media_type="application/json")

    return router
