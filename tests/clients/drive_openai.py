"""Asks through ``openai``."""

import asyncio
import json
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletionMessageToolCall
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


def questions(url: str, model: str) -> dict[str, Question]:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    chat: Any = client.chat.completions
    plain = {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": MAX_TOKENS}
    forced = {**plain, "max_tokens": 64, "tools": [TOOL], "tool_choice": CHOICE}

    def whole() -> Any:
        answer = chat.create(**plain)
        usage = answer.usage
        return [answer.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens]

    def stream() -> Any:
        text, usage = "", None
        for event in chat.create(**plain, stream=True, stream_options={"include_usage": True}):
            text += "".join(choice.delta.content or "" for choice in event.choices)
            usage = event.usage or usage
        assert usage is not None
        return [text, usage.prompt_tokens, usage.completion_tokens]

    def tool() -> Any:
        return _called(chat.create(**forced).choices[0].message.tool_calls)

    def streamed_tool() -> Any:
        with chat.stream(**forced) as events:
            final = events.get_final_completion()
        return _called(final.choices[0].message.tool_calls)

    def tool_answer() -> Any:
        call = tool()
        messages = answered_call(json.dumps(call["arguments"]))
        answer = chat.create(**{**plain, "messages": messages}, tools=[TOOL], tool_choice="none")
        return answer.choices[0].message.content

    def structured() -> Any:
        answer = chat.parse(**{**plain, "max_tokens": 64}, response_format=Sky)
        return answer.choices[0].message.parsed.model_dump()

    def embeddings() -> Any:
        return [each.embedding for each in client.embeddings.create(model=model, input=TEXTS).data]

    def at_once() -> Any:
        return asyncio.run(_at_once(url, plain))

    return {
        "models": lambda: [each.id for each in client.models.list()],
        "whole": whole,
        "stream": stream,
        "at_once": at_once,
        "tool": tool,
        "streamed_tool": streamed_tool,
        "tool_answer": tool_answer,
        "structured": structured,
        "embeddings": embeddings,
        "too_long": lambda: chat.create(
            **{**plain, "messages": [{"role": "user", "content": TOO_LONG}]}
        ),
        "no_such_model": lambda: chat.create(**{**plain, "model": NO_SUCH_MODEL}),
    }


def _called(calls: list[ChatCompletionMessageToolCall]) -> dict[str, Any]:
    (call,) = calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


async def _at_once(url: str, plain: dict[str, Any]) -> list[str]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        chat: Any = client.chat.completions
        answers = await asyncio.gather(*(chat.create(**plain) for _ in range(4)))
    return [answer.choices[0].message.content for answer in answers]


if __name__ == "__main__":
    drive(questions)
