"""``/v1/completions``: a prompt, continued as it is."""

from fastapi import APIRouter
from msgspec import Struct
from starlette.responses import Response

from gguf_server.api.answers import Shape
from gguf_server.api.errors import ErrorAnswers
from gguf_server.api.generation import GenerationResponse
from gguf_server.api.models import ServedModel
from gguf_server.api.schema import CompletionRequest
from gguf_server.supervisor.client import EngineClient
from gguf_server.wire.messages import FinishReason


class TextChoice(Struct, frozen=True):
    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: None = None


TEXT = Shape(
    id_prefix="cmpl-",
    object="text_completion",
    event_object="text_completion",
    choice=TextChoice,
    opening=None,
    delta=TextChoice,
    finish=lambda index, reason: TextChoice(index, "", reason),
)


def completions_router(
    engine: EngineClient, errors: ErrorAnswers, served: ServedModel
) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/completions")
    async def complete(body: CompletionRequest) -> Response:
        served.require(body.model)

        async def prompt() -> str | tuple[int, ...]:
            return body.prompt  # nothing to render

        return GenerationResponse(engine, errors, TEXT, body, prompt, served.name)

    return router
