"""What is served, under which name."""

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from gguf_server.api.answers import encode
from gguf_server.errors import ModelNotFound
from gguf_server.supervisor.client import EngineClient
from gguf_server.wire.messages import ModelFacts


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The one model of this server."""

    name: str
    created: int

    def require(self, name: str | None) -> None:
        """A request may leave the name out, but not mean another model."""
        if name not in (None, self.name):
            msg = f"the model {name[:200]!r} is not served here; this server has {self.name!r}"
            raise ModelNotFound(msg, param="model")


def models_router(engine: EngineClient, served: ServedModel) -> APIRouter:
    router = APIRouter()

    def described() -> dict[str, object]:
        facts = engine.status.facts
        return {
            "id": served.name,
            "object": "model",
            "created": served.created,
            "owned_by": "gguf-server",
            "meta": _meta(facts) if facts else None,
        }

    @router.get("/v1/models")
    async def list_models() -> Response:
        return _json({"object": "list", "data": [described()]})

    @router.get("/v1/models/{name:path}")
    async def get_model(name: str) -> Response:
        served.require(name)
        return _json(described())

    return router


def _meta(facts: ModelFacts) -> dict[str, object]:
    """Named as llama-server names them."""
    return {
        "n_ctx": facts.context_tokens,
        "n_ctx_train": facts.train_context_tokens,
        "n_vocab": facts.vocab_size,
        "n_params": facts.num_params,
        "size": facts.size_bytes,
    }


def _json(value: object) -> Response:
    return Response(encode(value), media_type="application/json")
