"""Asks through ``litellm``, which has its own names for errors and its own reading of streams."""

import asyncio
import json
from typing import Any

import litellm

from tests.clients.driver import drive
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
from tests.clients.sky import Sky


class LiteLLM:
    def __init__(self, url: str, model: str) -> None:
        self._server: dict[str, Any] = {
            "api_base": f"{url}/v1",
            "api_key": "none",
            "max_retries": 0,
        }
        self._model = model
        self._plain: dict[str, Any] = {
            "model": f"openai/{model}",
            "messages": MESSAGES,
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            **self._server,
        }
        self._forced = {**self._plain, "max_tokens": 64, "tools": [TOOL], "tool_choice": CHOICE}

    def whole(self) -> Any:
        answer = _chat(**self._plain)
        usage = answer.usage
        return [answer.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens]

    def stream(self) -> Any:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        events = list(_chat(**self._plain, **options))
        texts = [choice.delta.content or "" for event in events for choice in event.choices]
        (usage,) = [event.usage for event in events if getattr(event, "usage", None)]
        return ["".join(texts), usage.prompt_tokens, usage.completion_tokens]

    def at_once(self) -> Any:
        return asyncio.run(self._at_once())

    def tool(self) -> Any:
        return _called(_chat(**self._forced))

    def streamed_tool(self) -> Any:
        return _called(litellm.stream_chunk_builder(list(_chat(**self._forced, stream=True))))

    def tool_answer(self) -> Any:
        messages = answered_call(json.dumps(self.tool()["arguments"]))
        body = {**self._plain, "messages": messages, "tools": [TOOL], "tool_choice": "none"}
        return _chat(**body).choices[0].message.content

    def structured(self) -> Any:
        answer = _chat(**{**self._plain, "max_tokens": 64}, response_format=Sky)
        return Sky.model_validate_json(answer.choices[0].message.content).model_dump()

    def embeddings(self) -> Any:
        answer = litellm.embedding(model=f"openai/{self._model}", input=TEXTS, **self._server)
        return [each["embedding"] for each in answer.data]

    def text(self) -> Any:
        answer = litellm.text_completion(
            model=f"text-completion-openai/{self._model}",
            prompt="The sea is",
            max_tokens=8,
            temperature=0,
            **self._server,
        )
        return answer.choices[0].text

    def too_long(self) -> Any:
        return _chat(**{**self._plain, "messages": [{"role": "user", "content": TOO_LONG}]})

    def no_such_model(self) -> Any:
        return _chat(**{**self._plain, "model": f"openai/{NO_SUCH_MODEL}"})

    async def _at_once(self) -> Any:
        answers = await asyncio.gather(*(litellm.acompletion(**self._plain) for _ in range(4)))
        return [answer.choices[0].message.content for answer in answers]


def _chat(**body: Any) -> Any:
    return litellm.completion(**body)


def _called(answer: Any) -> dict[str, Any]:
    (call,) = answer.choices[0].message.tool_calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


if __name__ == "__main__":
    drive(LiteLLM)
