"""``/v1/completions``: prompts, continued as they are."""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from gguf_server.api.answers import Shape
from gguf_server.api.errors import ErrorAnswers
from gguf_server.api.generation import GenerationResponse
from gguf_server.api.models import ServedModel
from gguf_server.api.schema.completions import CompletionRequest
from gguf_server.api.schema.prompts import Prompt
from gguf_server.api.submission import Task, require_capacity, require_text_model
from gguf_server.api.text_answers import TextAnswers
from gguf_server.errors import InvalidRequest
from gguf_server.supervisor.client import EngineClient

TEXT = Shape(id_prefix="cmpl-", object="text_completion", event_object="text_completion")


def completions_router(
    engine: EngineClient, errors: ErrorAnswers, served: ServedModel
) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/completions")
    async def complete(body: CompletionRequest) -> Response:
        served.require(body.model)
        require_text_model(engine.require_engine())
        require_capacity(engine, body, len(body.prompt))

        async def tasks() -> Sequence[Task]:
            return [await _task(engine, body, prompt) for prompt in body.prompt]

        return GenerationResponse(engine, errors, TEXT, body, tasks, served.name)

    return router


async def _task(engine: EngineClient, request: CompletionRequest, prompt: Prompt) -> Task:
    with_logprobs = request.logprobs is not None
    echo = await _text_of(engine, prompt) if request.echo else ""
    return Task(
        prompt=prompt,
        answers=TextAnswers(echo, with_logprobs=with_logprobs),
        constraint=request.constraint,
        prompt_logprobs=request.echo and with_logprobs,
    )


async def _text_of(engine: EngineClient, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    try:
        return await engine.detokenize(prompt)
    except InvalidRequest as exc:
        raise InvalidRequest(exc.message, param="prompt") from exc
