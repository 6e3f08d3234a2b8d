"""Meets a server before it is measured: its model, what it understands, how long its tokens are."""

from dataclasses import replace

from gguf_server.bench.client import (
    CHAT_PATH,
    Refused,
    RequestFailed,
    Target,
    Transcript,
    converse,
    get,
)
from gguf_server.bench.http import BrokenAnswer
from gguf_server.bench.workloads import PLAIN_RULER, Message, Prompt, Ruler, text
from gguf_server.endpoint import Endpoint, model_names
from gguf_server.errors import ServerUnusable

_RULER_WORDS = (20, 120)


async def served_model(endpoint: Endpoint) -> str:
    """The name that the server answers to: some refuse any other."""
    try:
        status, body = await get(endpoint, "/v1/models")
    except OSError as exc:
        raise endpoint.unreachable(exc) from None
    except BrokenAnswer as exc:
        raise _useless(endpoint, "/v1/models", exc) from None
    return model_names(endpoint, status, body)[0]


async def understood(target: Target) -> Target:
    """The target, without what its server refuses; raises ``ServerUnusable`` where nothing goes."""
    try:
        await _num_prompt_tokens(target, _probes()[0])
    except Refused as exc:
        if target.ignore_eos and "ignore_eos" in exc.refusal.message:
            return await understood(replace(target, ignore_eos=False))
        raise exc.refusal.error(target.endpoint, target.model) from None
    except OSError as exc:
        raise target.endpoint.unreachable(exc) from None
    except (BrokenAnswer, RequestFailed) as exc:
        raise _useless(target.endpoint, CHAT_PATH, exc) from None
    return target


async def calibrate(target: Target) -> Ruler:
    """Asks how long three prompts are; where nothing says so, a guess."""
    try:
        counts = [await _num_prompt_tokens(target, probe) for probe in _probes()]
    except (BrokenAnswer, OSError, RequestFailed):  # a template without system messages, say
        return PLAIN_RULER
    return (
        Ruler.fit(_RULER_WORDS, (counts[0], counts[1]), counts[2]) if all(counts) else PLAIN_RULER
    )


def _probes() -> list[tuple[Message, ...]]:
    short, long = _RULER_WORDS
    user = Message("user", text("ruler", short))
    return [
        (user,),
        (Message("user", text("ruler", long)),),
        (Message("system", text("ruler/system", short)), user),
    ]


async def _num_prompt_tokens(target: Target, messages: tuple[Message, ...]) -> int:
    transcript = Transcript()
    await converse(target, Prompt(messages, max_tokens=1), transcript)
    return int(transcript.usage.get("prompt_tokens") or 0)


def _useless(endpoint: Endpoint, path: str, exc: Exception) -> ServerUnusable:
    return ServerUnusable(f"{endpoint} gave no usable answer at {path}: {exc}")
