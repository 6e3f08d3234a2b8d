"""The client against a scripted server on a real socket."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.client import ClientError, Endpoint, EventDecoder, Outcome, chat_body, stream_chat
from tests.bench.load import calibrate, drive
from tests.bench.workloads import Message, Prompt

Result = TypeVar("Result")

PROMPT = Prompt((Message("user", "About river"),), max_tokens=3)
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(text: str) -> bytes:
    return event(choices=[{"delta": {"content": text}}])


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


ROLE, FINISH = (
    event(choices=[{"delta": {"role": "assistant", "content": None}}]),
    b"data: [DONE]\n\n",
)
STREAM = (ROLE, delta("a"), delta("bc"), event(choices=[], usage=USAGE), FINISH)


def asking(answer: bytes, ask: Callable[[Endpoint], Awaitable[Result]]) -> Result:
    """Runs `ask` against a server that answers every request with `answer` and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def main() -> Result:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await ask(Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))

    return asyncio.run(main())


def outcome_of(answer: bytes) -> Outcome:
    return asking(answer, lambda endpoint: stream_chat(endpoint, PROMPT, timeout_seconds=10))


def test_a_stream_gives_its_texts_times_and_its_usage_counts() -> None:
    seen = outcome_of(HEAD + chunked(*STREAM))
    assert seen.error is None
    assert len(seen.text_at) == 2
    assert (seen.num_prompt_tokens, seen.num_cached_tokens, seen.num_output_tokens) == (7, 5, 3)
    assert seen.submitted_at <= seen.text_at[0] <= seen.text_at[1] <= seen.finished_at


def test_a_body_without_chunks_is_read_to_its_end() -> None:
    assert outcome_of(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(STREAM)).error is None


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (HEAD + chunked(*STREAM[:-1]), "before [DONE]"),
        (HEAD + chunked(*STREAM)[:-40], "bytes read"),
        (HEAD + chunked(ROLE, delta("a"), FINISH), "answered 1 of 3 tokens"),
        (HEAD + chunked(ROLE, event(error={"message": "engine died"})), "engine died"),
        (HEAD + chunked(b"data: {broken\n\n"), "not JSON"),
        (b'HTTP/1.1 429 No\r\nContent-Length: 28\r\n\r\n{"error":{"message":"full"}}', "429: full"),
        (b"hello\r\n\r\n", "not an HTTP answer"),
        (b"", "bytes read"),
    ],
)
def test_whatever_goes_wrong_is_an_outcome_with_an_error(answer: bytes, complaint: str) -> None:
    assert complaint in (outcome_of(answer).error or "")


def test_a_run_keeps_the_order_of_its_prompts_and_counts_all() -> None:
    run = asking(HEAD + chunked(*STREAM), lambda endpoint: drive(endpoint, [PROMPT] * 5, 2))
    assert [outcome.error for outcome in run.outcomes] == [None] * 5
    assert run.wall_seconds > 0


def test_calibration_stops_where_the_server_does_not_count() -> None:
    with pytest.raises(ClientError, match="cannot measure"):
        asking(HEAD + chunked(FINISH), calibrate)


@given(st.lists(st.integers(0, 200), max_size=6))
def test_events_do_not_depend_on_where_the_network_cuts(cuts: list[int]) -> None:
    stream, decoder = b"".join(STREAM), EventDecoder()
    edges = [0, *sorted(cuts), len(stream)]
    seen = [data for start, end in pairwise(edges) for data in decoder.feed(stream[start:end])]
    assert seen == EventDecoder().feed(stream)
    assert len(seen) == len(STREAM)


def test_requests_are_greedy_of_exact_length_and_ask_for_usage() -> None:
    body = json.loads(chat_body(Endpoint("host", 1), PROMPT))
    assert (body["temperature"], body["max_tokens"], body["ignore_eos"]) == (0, 3, True)
    assert body["stream_options"] == {"include_usage": True}
    assert "cache_prompt" not in body


def test_a_url_is_taken_apart_once() -> None:
    assert Endpoint.parse("http://host:8000/") == Endpoint("host", 8000)
    assert Endpoint.parse("https://host/base") == Endpoint("host", 443, "/base", tls=True)
    with pytest.raises(ClientError, match="looks like"):
        Endpoint.parse("host:8000")
