"""Asks through ``langchain-openai``."""

import asyncio
import json
from functools import reduce
from operator import add
from typing import Any, Literal

from langchain_core.messages import convert_to_messages
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.clients.driver import Question, drive
from tests.clients.questions import (
    MAX_TOKENS,
    MESSAGES,
    NO_SUCH_MODEL,
    TEXTS,
    TOO_LONG,
    TOOL,
    answered_call,
)


class Sky(BaseModel):
    """The sky."""

    color: Literal["blue", "grey"]
    clouds: Literal[0, 1, 2]


def questions(url: str, model: str) -> dict[str, Question]:
    server: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "none", "max_retries": 0}

    def chat(max_tokens: int = MAX_TOKENS, name: str = model) -> Any:
        return ChatOpenAI(model=name, temperature=0, max_tokens=max_tokens, **server)

    messages = convert_to_messages(MESSAGES)
    forced = chat(64).bind_tools([TOOL], tool_choice="get_weather")

    def stream() -> Any:
        return _told(reduce(add, chat().stream(messages, stream_usage=True)))

    def tool_answer() -> Any:
        call = _called(forced.invoke(messages))
        after = convert_to_messages(answered_call(json.dumps(call["arguments"])))
        return chat().bind_tools([TOOL], tool_choice="none").invoke(after).content

    def structured(method: str) -> Any:
        return chat(64).with_structured_output(Sky, method=method).invoke(messages).model_dump()

    def embeddings() -> Any:
        # Otherwise it sends the numbers of OpenAI's tokens, and fetches their table first.
        maker = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False, **server)
        return maker.embed_documents(TEXTS)

    def text() -> Any:
        return OpenAI(model=model, temperature=0, max_tokens=8, **server).invoke("The sea is")

    async def at_once() -> Any:
        answers = await asyncio.gather(*(chat().ainvoke(messages) for _ in range(4)))
        return [answer.content for answer in answers]

    return {
        "whole": lambda: _told(chat().invoke(messages)),
        "stream": stream,
        "at_once": lambda: asyncio.run(at_once()),
        "tool": lambda: _called(forced.invoke(messages)),
        "streamed_tool": lambda: _called(reduce(add, forced.stream(messages))),
        "tool_answer": tool_answer,
        "structured": lambda: structured("json_schema"),
        "structured_by_tool": lambda: structured("function_calling"),
        "embeddings": embeddings,
        "text": text,
        "too_long": lambda: chat().invoke(TOO_LONG),
        "no_such_model": lambda: chat(name=NO_SUCH_MODEL).invoke(messages),
    }


def _told(message: Any) -> list[Any]:
    usage = message.usage_metadata
    return [message.content, usage["input_tokens"], usage["output_tokens"]]


def _called(message: Any) -> dict[str, Any]:
    (call,) = message.tool_calls
    return {"name": call["name"], "arguments": call["args"]}


if __name__ == "__main__":
    drive(questions)
