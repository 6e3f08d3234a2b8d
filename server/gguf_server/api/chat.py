"""``/v1/chat/completions``: messages through the chat template, answers through its dialect."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from gguf_server.api.answers import Shape
from gguf_server.api.chat_answers import ChatAnswers
from gguf_server.api.errors import ErrorAnswers
from gguf_server.api.generation import GenerationResponse
from gguf_server.api.models import ServedModel
from gguf_server.api.schema.chat import ChatRequest
from gguf_server.api.submission import Task, require_capacity, require_text_model
from gguf_server.prompt.families import dialect_of
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.supervisor.client import EngineClient
from gguf_server.wire.messages import ModelFacts

CHAT = Shape(id_prefix="chatcmpl-", object="chat.completion", event_object="chat.completion.chunk")


def chat_router(
    engine: EngineClient, renderer: TemplateRenderer, errors: ErrorAnswers, served: ServedModel
) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(body: ChatRequest) -> Response:
        served.require(body.model)
        facts = engine.require_engine()
        require_text_model(facts)
        require_capacity(engine, body, num_prompts=1)

        async def tasks() -> list[Task]:
            return [await _task(renderer, facts, body)]

        return GenerationResponse(engine, errors, CHAT, body, tasks, served.name)

    return router


async def _task(renderer: TemplateRenderer, facts: ModelFacts, request: ChatRequest) -> Task:
    use = request.tool_use
    prompt = await renderer.render(
        [message.as_data() for message in request.messages],
        facts,
        tools=request.shown_tools,
        variables=request.template_variables,
    )
    dialect = dialect_of(renderer.template(facts), facts.special_tokens)
    return Task(
        prompt=prompt,
        answers=ChatAnswers(partial(dialect.parser, prompt, use), with_logprobs=request.logprobs),
        constraint=dialect.constraint(prompt, use, request.constraint),
        show_special=dialect.show_special,
    )
