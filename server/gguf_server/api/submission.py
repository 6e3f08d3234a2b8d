"""From one request to the sequences that answer it: all of them run, or none."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from gguf_server.api.answers import Answers
from gguf_server.api.schema.generation import GenerationRequest
from gguf_server.api.schema.prompts import Prompt
from gguf_server.errors import ContextLengthExceeded, InvalidRequest, QueueFull
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.generation import Generation
from gguf_server.wire.messages import Constraint, ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A prompt that is continued ``n`` times, and how its answers are made."""

    prompt: Prompt
    answers: Answers
    constraint: Constraint | None = None
    prompt_logprobs: bool = False
    show_special: bool = False


def require_text_model(facts: ModelFacts) -> None:
    if not facts.generates:
        msg = "this model computes embeddings and no text; send it to /v1/embeddings"
        raise InvalidRequest(msg, param="model")


def require_capacity(engine: EngineClient, request: GenerationRequest, num_prompts: int) -> None:
    """Refuses what could never run, however long it waited."""
    if num_prompts * request.n > engine.capacity:
        msg = (
            f"{_described(request, num_prompts)} can never run: "
            f"{engine.capacity} requests may be open"
        )
        raise InvalidRequest(msg, param=_culprit(num_prompts))


async def submit(
    engine: EngineClient,
    request: GenerationRequest,
    tasks: Sequence[Task],
    open_sequences: AsyncExitStack,
) -> list[list[Generation]]:
    """The ``n`` sequences of each task, accepted by the engine. They end with the stack."""
    prompts: list[list[Generation]] = [[] for _ in tasks]
    for task, sequences in zip(tasks, prompts, strict=True):
        for index in range(request.n):
            try:
                generation = _generate(engine, request, task, index)
            except QueueFull as exc:
                raise _no_room(request, prompts, exc) from exc
            sequences.append(await open_sequences.enter_async_context(generation))
    for number, sequences in enumerate(prompts):
        with located(f"prompt[{number}]" if len(prompts) > 1 else ""):
            for generation in sequences:
                await generation.accepted()
    return prompts


def _generate(
    engine: EngineClient, request: GenerationRequest, task: Task, index: int
) -> Generation:
    return engine.generate(
        prompt=task.prompt,
        max_tokens=request.token_limit,
        stop=tuple(request.stop),
        sampling=request.sampling(index),
        constraint=task.constraint,
        prompt_logprobs=task.prompt_logprobs,
        show_special=task.show_special,
    )


@contextmanager
def located(item: str) -> Iterator[None]:
    """Says which item of a list the engine did not like."""
    try:
        yield
    except (InvalidRequest, ContextLengthExceeded) as exc:
        if not item:
            raise
        raise type(exc)(f"{item}: {exc.message}", param=item) from exc


def _no_room(
    request: GenerationRequest, prompts: Sequence[Sequence[Generation]], error: QueueFull
) -> QueueFull:
    num_submitted = sum(len(sequences) for sequences in prompts)
    if num_submitted == 0:
        return error
    msg = (
        f"{_described(request, len(prompts))} needs as many places, "
        f"{num_submitted} were free: {error}"
    )
    return QueueFull(
        msg, param=_culprit(len(prompts)), retry_after_seconds=error.retry_after_seconds
    )


def _described(request: GenerationRequest, num_prompts: int) -> str:
    if num_prompts == 1:
        return f"n={request.n}"
    return f"n={request.n} for each of {num_prompts} prompts"


def _culprit(num_prompts: int) -> str:
    return "prompt" if num_prompts > 1 else "n"
