"""Asks through ``langchain-openai``."""

import asyncio
import json
from functools import reduce
from operator import add
from typing import Any

from langchain_core.messages import convert_to_messages
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from tests.clients.driver import drive
from tests.clients.questions import (
    MAX_TOKENS,
    MESSAGES,
    NO_SUCH_MODEL,
    TEXTS,
    TOO_LONG,
    TOOL,
    answered_call,
)
from tests.clients.sky import Sky


class LangChain:
    def __init__(self, url: str, model: str) -> None:
        self._server: dict[str, Any] = {
            "base_url": f"{url}/v1",
            "api_key": "none",
            "max_retries": 0,
        }
        self._model = model
        self._messages = convert_to_messages(MESSAGES)
        self._forced = self._chat(64).bind_tools([TOOL], tool_choice="get_weather")

    def whole(self) -> Any:
        return _told(self._chat().invoke(self._messages))

    def stream(self) -> Any:
        return _told(reduce(add, self._chat().stream(self._messages, stream_usage=True)))

    def at_once(self) -> Any:
        return asyncio.run(self._at_once())

    def tool(self) -> Any:
        return _called(self._forced.invoke(self._messages))

    def streamed_tool(self) -> Any:
        return _called(reduce(add, self._forced.stream(self._messages)))

    def tool_answer(self) -> Any:
        after = convert_to_messages(answered_call(json.dumps(self.tool()["arguments"])))
        return self._chat().bind_tools([TOOL], tool_choice="none").invoke(after).content

    def structured(self) -> Any:
        return self._structured("json_schema")

    def structured_by_tool(self) -> Any:
        return self._structured("function_calling")

    def embeddings(self) -> Any:
        # Otherwise it sends the numbers of OpenAI's tokens, and fetches their table first.
        maker = OpenAIEmbeddings(
            model=self._model, check_embedding_ctx_length=False, **self._server
        )
        return maker.embed_documents(TEXTS)

    def text(self) -> Any:
        client = OpenAI(model=self._model, temperature=0, max_tokens=8, **self._server)
        return client.invoke("The sea is")

    def too_long(self) -> Any:
        return self._chat().invoke(TOO_LONG)

    def no_such_model(self) -> Any:
        return self._chat(name=NO_SUCH_MODEL).invoke(self._messages)

    def _chat(self, max_tokens: int = MAX_TOKENS, name: str = "") -> Any:
        name = name or self._model
        return ChatOpenAI(model=name, temperature=0, max_tokens=max_tokens, **self._server)

    def _structured(self, method: str) -> Any:
        maker = self._chat(64).with_structured_output(Sky, method=method)
        return maker.invoke(self._messages).model_dump()

    async def _at_once(self) -> Any:
        answers = await asyncio.gather(*(self._chat().ainvoke(self._messages) for _ in range(4)))
        return [answer.content for answer in answers]


def _told(message: Any) -> list[Any]:
    usage = message.usage_metadata
    return [message.content, usage["input_tokens"], usage["output_tokens"]]


def _called(message: Any) -> dict[str, Any]:
    (call,) = message.tool_calls
    return {"name": call["name"], "arguments": call["args"]}


if __name__ == "__main__":
    drive(LangChain)
