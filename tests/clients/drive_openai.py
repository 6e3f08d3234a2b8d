"""Asks through ``openai``."""

import asyncio
import json
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageToolCall

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


class OpenAI:
    def __init__(self, url: str, model: str) -> None:
        self._server: dict[str, Any] = {
            "base_url": f"{url}/v1",
            "api_key": "none",
            "max_retries": 0,
        }
        self._model = model
        self._client = openai.OpenAI(**self._server)
        self._chat: Any = self._client.chat.completions
        self._plain = {
            "model": model,
            "messages": MESSAGES,
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
        }
        self._forced = {**self._plain, "max_tokens": 64, "tools": [TOOL], "tool_choice": CHOICE}

    def models(self) -> Any:
        return [each.id for each in self._client.models.list()]

    def whole(self) -> Any:
        answer = self._chat.create(**self._plain)
        usage = answer.usage
        return [answer.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens]

    def stream(self) -> Any:
        text, usage = "", None
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for event in self._chat.create(**self._plain, **options):
            text += "".join(choice.delta.content or "" for choice in event.choices)
            usage = event.usage or usage
        assert usage is not None
        return [text, usage.prompt_tokens, usage.completion_tokens]

    def at_once(self) -> Any:
        return asyncio.run(self._at_once())

    def tool(self) -> Any:
        return _called(self._chat.create(**self._forced).choices[0].message.tool_calls)

    def streamed_tool(self) -> Any:
        with self._chat.stream(**self._forced) as events:
            final = events.get_final_completion()
        return _called(final.choices[0].message.tool_calls)

    def tool_answer(self) -> Any:
        messages = answered_call(json.dumps(self.tool()["arguments"]))
        body = {**self._plain, "messages": messages, "tools": [TOOL], "tool_choice": "none"}
        return self._chat.create(**body).choices[0].message.content

    def structured(self) -> Any:
        answer = self._chat.parse(**{**self._plain, "max_tokens": 64}, response_format=Sky)
        return answer.choices[0].message.parsed.model_dump()

    def embeddings(self) -> Any:
        answer = self._client.embeddings.create(model=self._model, input=TEXTS)
        return [each.embedding for each in answer.data]

    def too_long(self) -> Any:
        messages = [{"role": "user", "content": TOO_LONG}]
        return self._chat.create(**{**self._plain, "messages": messages})

    def no_such_model(self) -> Any:
        return self._chat.create(**{**self._plain, "model": NO_SUCH_MODEL})

    async def _at_once(self) -> list[str]:
        async with openai.AsyncOpenAI(**self._server) as client:
            chat: Any = client.chat.completions
            answers = await asyncio.gather(*(chat.create(**self._plain) for _ in range(4)))
        return [answer.choices[0].message.content for answer in answers]


def _called(calls: list[ChatCompletionMessageToolCall]) -> dict[str, Any]:
    (call,) = calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


if __name__ == "__main__":
    drive(OpenAI)
