"""Text to token ids and back, as llama-server has it and as vLLM has it.

lm-eval takes the tokenizer of a server that answers as vLLM's does; of another it asks the hub for
one, by a name that is the GGUF's here.
"""

from fastapi import APIRouter
from starlette.responses import Response

from gguf_server.api.answers import encode
from gguf_server.api.models import ServedModel
from gguf_server.api.schema.tokens import DetokenizeRequest, TokenizeRequest
from gguf_server.supervisor.client import EngineClient


def tokens_router(engine: EngineClient, served: ServedModel) -> APIRouter:
    router = APIRouter()

    @router.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> Response:
        served.require(body.model)
        facts = engine.require_engine()
        tokens = await engine.tokenize(
            body.text, add_special=body.adds_special, parse_special=body.parse_special
        )
        limits = {"count": len(tokens), "max_model_len": facts.context_tokens}
        return _json({"tokens": tokens, **limits})

    @router.post("/detokenize")
    async def detokenize(body: DetokenizeRequest) -> Response:
        served.require(body.model)
        text = await engine.detokenize(tuple(body.tokens))
        return _json({"content": text, "prompt": text})

    @router.get("/tokenizer_info")
    async def tokenizer_info() -> Response:
        facts = engine.require_engine()
        special = {"bos_token": facts.bos_token or None, "eos_token": facts.eos_token or None}
        return _json({**special, "chat_template": facts.chat_template})

    return router


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")
