"""Asks through ``litellm``, which has its own names for errors and its own reading of streams."""

import asyncio
import json
from typing import Any, Literal

import litellm
from pydantic import BaseModel

from tests.clients.driver import Question, drive
from tests.clients.questions import (
    CHOICE,
    MAX_TOKENS,
    MESSAGES,
    NO_SUCH_MODEL,
    TEXTS,
    TOO_LONG,
    TOOL,
    answered_call,
)


class Sky(BaseModel):
    color: Literal["blue", "grey"]
    clouds: Literal[0, 1, 2]


def questions(url: str, model: str) -> dict[str, Question]:  # noqa: C901 -- one after the other
    server: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "none", "max_retries": 0}
    plain = {
        "model": f"openai/{model}",
        "messages": MESSAGES,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        **server,
    }
    forced = {**plain, "max_tokens": 64, "tools": [TOOL], "tool_choice": CHOICE}

    def chat(**body: Any) -> Any:
        return litellm.completion(**body)

    def whole() -> Any:
        answer = chat(**plain)
        usage = answer.usage
        return [answer.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens]

    def stream() -> Any:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        events = list(chat(**plain, **options))
        texts = [choice.delta.content or "" for event in events for choice in event.choices]
        (usage,) = [event.usage for event in events if getattr(event, "usage", None)]
        return ["".join(texts), usage.prompt_tokens, usage.completion_tokens]

    def tool() -> Any:
        return _called(chat(**forced))

    def streamed_tool() -> Any:
        return _called(litellm.stream_chunk_builder(list(chat(**forced, stream=True))))

    def tool_answer() -> Any:
        messages = answered_call(json.dumps(tool()["arguments"]))
        body = {**plain, "messages": messages, "tools": [TOOL], "tool_choice": "none"}
        return chat(**body).choices[0].message.content

    def structured() -> Any:
        answer = chat(**{**plain, "max_tokens": 64}, response_format=Sky)
        return Sky.model_validate_json(answer.choices[0].message.content).model_dump()

    def embeddings() -> Any:
        answer = litellm.embedding(model=f"openai/{model}", input=TEXTS, **server)
        return [each["embedding"] for each in answer.data]

    def text() -> Any:
        answer = litellm.text_completion(
            model=f"text-completion-openai/{model}",
            prompt="The sea is",
            max_tokens=8,
            temperature=0,
            **server,
        )
        return answer.choices[0].text

    async def at_once() -> Any:
        answers = await asyncio.gather(*(litellm.acompletion(**plain) for _ in range(4)))
        return [answer.choices[0].message.content for answer in answers]

    return {
        "whole": whole,
        "stream": stream,
        "at_once": lambda: asyncio.run(at_once()),
        "tool": tool,
        "streamed_tool": streamed_tool,
        "tool_answer": tool_answer,
        "structured": structured,
        "embeddings": embeddings,
        "text": text,
        "too_long": lambda: chat(**{**plain, "messages": [{"role": "user", "content": TOO_LONG}]}),
        "no_such_model": lambda: chat(**{**plain, "model": f"openai/{NO_SUCH_MODEL}"}),
    }


def _called(answer: Any) -> dict[str, Any]:
    (call,) = answer.choices[0].message.tool_calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


if __name__ == "__main__":
    drive(questions)
