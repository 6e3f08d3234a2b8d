"""The embeddings' load against a scripted server on a real socket."""

import asyncio
import json
from collections.abc import Callable

from gguf_server.bench.client import Target
from gguf_server.bench.load import Run
from gguf_server.bench.stats import summarize
from gguf_server.endpoint import Endpoint
from tests.bench.embedding import EMBEDDINGS, TEXTS_A_REQUEST, drive

Answer = Callable[[list[str]], tuple[int, object]]


def driven(answer: Answer) -> Run:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].split()[0])
        texts = json.loads(await reader.readexactly(length))["input"]
        status, found = answer(texts)
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()

    async def main() -> Run:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
            return await drive(Target(endpoint, "m", timeout_seconds=10))

    return asyncio.run(main())


def vectors(texts: list[str]) -> tuple[int, object]:
    data = [{"embedding": [0.6, 0.8]} for _ in texts]
    return 200, {"data": data, "usage": {"prompt_tokens": 3 * len(texts)}}


def test_every_text_is_another_and_its_vector_is_counted() -> None:
    seen: list[str] = []

    def answer(texts: list[str]) -> tuple[int, object]:
        seen.extend(texts)
        return vectors(texts)

    summary = summarize(driven(answer))
    num_texts = TEXTS_A_REQUEST * len(EMBEDDINGS.shapes)
    assert len(set(seen)) == num_texts
    assert (summary.num_output_tokens, summary.num_short) == (num_texts, 0)
    assert summary.num_prompt_tokens == 3 * num_texts


def test_a_missing_or_empty_vector_is_a_short_answer() -> None:
    def answer(texts: list[str]) -> tuple[int, object]:
        return 200, {"data": [{"embedding": [0.0]}, *[{"embedding": [1.0]} for _ in texts[1:]]]}

    summary = summarize(driven(answer))
    assert summary.num_short == len(EMBEDDINGS.shapes)


def test_a_refusal_fails_its_request_with_the_servers_words() -> None:
    run = driven(lambda _: (501, {"error": {"message": "no embeddings here"}}))
    assert {each.failure and each.failure.message for each in run.outcomes} == {
        "HTTP 501: no embeddings here"
    }


def test_an_answer_that_is_no_json_fails_its_request() -> None:
    run = driven(lambda _: (200, b"<html>"))
    assert {each.failure.message.split(":")[0] for each in run.outcomes if each.failure} == {
        "no answer"
    }
