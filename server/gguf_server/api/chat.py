"""``/v1/chat/completions``: messages through the chat template, then as any completion."""

from fastapi import APIRouter
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from gguf_server.api.answers import Shape
from gguf_server.api.errors import ErrorAnswers
from gguf_server.api.generation import GenerationResponse
from gguf_server.api.models import ServedModel
from gguf_server.api.schema import ChatRequest
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.supervisor.client import EngineClient
from gguf_server.wire.messages import FinishReason


class ChatMessage(Struct, frozen=True):
    content: str
    role: str = "assistant"
    refusal: None = None


class ChatChoice(Struct, frozen=True):
    index: int
    message: ChatMessage
    finish_reason: FinishReason | None
    logprobs: None = None


class ChatDelta(Struct, frozen=True, omit_defaults=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatEventChoice(Struct, frozen=True):
    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None = None
    logprobs: None = None


CHAT = Shape(
    id_prefix="chatcmpl-",
    object="chat.completion",
    event_object="chat.completion.chunk",
    choice=lambda index, text, reason: ChatChoice(index, ChatMessage(text), reason),
    opening=lambda index: ChatEventChoice(index, ChatDelta(role="assistant", content="")),
    delta=lambda index, text: ChatEventChoice(index, ChatDelta(content=text)),
    finish=lambda index, reason: ChatEventChoice(index, ChatDelta(), reason),
)


def chat_router(
    engine: EngineClient, renderer: TemplateRenderer, errors: ErrorAnswers, served: ServedModel
) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(body: ChatRequest) -> Response:
        served.require(body.model)
        messages = [message.as_data() for message in body.messages]
        facts = engine.require_engine()
        return GenerationResponse(
            engine, errors, CHAT, body, lambda: renderer.render(messages, facts), served.name
        )

    return router
