"""The client against a scripted server on a real socket."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.bench.client import EventDecoder, Outcome, Target, chat_body, stream_chat
from gguf_server.bench.load import drive
from gguf_server.bench.probe import calibrate, served_model, understood
from gguf_server.bench.workloads import PLAIN_RULER, Message, Prompt
from gguf_server.endpoint import Endpoint
from gguf_server.errors import ServerUnusable

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


def refusal(status: int, message: str) -> bytes:
    body = json.dumps({"error": {"message": message}}).encode()
    return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


FULL = refusal(429, "full")


def asking(
    answer: bytes | Callable[[bytes], bytes], ask: Callable[[Target], Awaitable[Result]]
) -> Result:
    """Runs ``ask`` against a server that answers every request with ``answer`` and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
        writer.write(answer if isinstance(answer, bytes) else answer(body))
        await writer.drain()
        writer.close()

    async def main() -> Result:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
            return await ask(Target(endpoint, "m", timeout_seconds=10))

    return asyncio.run(main())


def outcome_of(answer: bytes) -> Outcome:
    return asking(answer, lambda target: stream_chat(target, PROMPT))


def test_a_stream_gives_its_texts_times_and_its_usage_counts() -> None:
    seen = outcome_of(HEAD + chunked(*STREAM))
    assert seen.failure is None
    assert len(seen.text_at) == 2
    assert (seen.num_prompt_tokens, seen.num_cached_tokens, seen.num_output_tokens) == (7, 5, 3)
    assert seen.submitted_at <= seen.text_at[0] <= seen.text_at[1] <= seen.finished_at


def test_a_body_without_chunks_is_read_to_its_end() -> None:
    assert outcome_of(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(STREAM)).failure is None


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (HEAD + chunked(*STREAM[:-1]), "broken answer: the stream ended before [DONE]"),
        (HEAD + chunked(*STREAM)[:-40], "broken answer: the connection was closed in the middle"),
        (
            HEAD + chunked(ROLE, event(error={"message": "engine died"})),
            "error event: engine died",
        ),
        (HEAD + chunked(b"data: {broken\n\n"), "broken answer: an event is not JSON"),
        (FULL, "HTTP 429: HTTP 429: full"),
        (b"hello\r\n\r\n", "broken answer: the answer is not HTTP"),
        (b"", "broken answer: the connection was closed before"),
    ],
)
def test_whatever_goes_wrong_is_an_outcome_with_a_failure(answer: bytes, complaint: str) -> None:
    failure = outcome_of(answer).failure
    assert failure
    assert f"{failure.kind}: {failure.message}".startswith(complaint)


def test_an_answer_shorter_than_asked_for_says_by_how_much() -> None:
    usage = event(choices=[], usage={**USAGE, "completion_tokens": 1})
    assert outcome_of(HEAD + chunked(ROLE, delta("a"), usage, FINISH)).num_missing_tokens == 2


def test_events_count_the_tokens_where_the_server_sends_no_usage() -> None:
    seen = outcome_of(HEAD + chunked(ROLE, delta("a"), delta("b"), FINISH))
    assert (seen.failure, seen.num_output_tokens, seen.num_missing_tokens) == (None, 2, 0)


def test_an_answer_cut_at_its_length_has_that_many_tokens_though_no_usage_says_so() -> None:
    cut = event(choices=[{"delta": {}, "finish_reason": "length"}])
    assert outcome_of(HEAD + chunked(ROLE, delta("ab"), cut, FINISH)).num_output_tokens == 3


def test_a_server_that_never_answers_is_given_up() -> None:
    async def main() -> Outcome:
        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
            endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
            return await stream_chat(Target(endpoint, "m", timeout_seconds=0.05), PROMPT)

    failure = asyncio.run(main()).failure
    assert failure
    assert (failure.kind, failure.message) == ("timeout", "no end after 0.05 s")


def test_a_run_keeps_the_order_of_its_prompts_and_counts_all() -> None:
    run = asking(HEAD + chunked(*STREAM), lambda target: drive(target, [PROMPT] * 5, 2))
    assert [outcome.failure for outcome in run.outcomes] == [None] * 5
    assert run.wall_seconds > 0


class Conversing:
    """Answers each request with its number, but refuses one of them."""

    def __init__(self, refused: int = 0) -> None:
        self.asked: list[list[dict[str, str]]] = []
        self.refused = refused

    def __call__(self, body: bytes) -> bytes:
        self.asked.append(json.loads(body)["messages"])
        if len(self.asked) == self.refused:
            return FULL
        return HEAD + chunked(ROLE, delta(f"answer {len(self.asked)}"), FINISH)


TALK = replace(PROMPT, next_messages=(Message("user", "and then?"), Message("user", "why?")))


def test_a_user_waits_for_the_answer_and_says_more() -> None:
    server, progress = Conversing(), list[int]()
    run = asking(server, lambda target: drive(target, [TALK], 1, progress.append))
    assert [len(messages) for messages in server.asked] == [1, 3, 5]
    assert [each["content"] for each in server.asked[2]] == [
        *("About river", "answer 1", "and then?", "answer 2", "why?")
    ]
    assert [outcome.text for outcome in run.outcomes] == ["answer 1", "answer 2", "answer 3"]
    assert progress == [1, 2, 3]


def test_what_was_never_asked_after_a_refusal_has_failed_too() -> None:
    server = Conversing(refused=2)
    run = asking(server, lambda target: drive(target, [TALK], 1))
    kinds = [outcome.failure.kind if outcome.failure else None for outcome in run.outcomes]
    assert kinds == [None, "HTTP 429", "not asked"]
    assert len(server.asked) == 2


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORM = replace(PROMPT, schema=SCHEMA)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [('{"a": 1}', None), ('{"a": 1', "not JSON"), ("[1]", "other keys"), ("{}", "other keys")],
)
def test_an_answer_by_a_schema_is_looked_at(text: str, complaint: str | None) -> None:
    answer = HEAD + chunked(ROLE, delta(text), event(choices=[], usage=USAGE), FINISH)
    seen = asking(answer, lambda target: stream_chat(target, replace(FORM, max_tokens=99)))
    assert (seen.failure.message.split(":")[0] if seen.failure else None) == complaint
    assert seen.num_missing_tokens == 0, "it ends where the schema ends"


def test_a_schema_is_asked_for_and_ends_the_answer_itself() -> None:
    body = json.loads(chat_body(Target(Endpoint("127.0.0.1", 1), "m"), FORM))
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "ignore_eos" not in body


def test_prompts_are_sized_by_guess_where_the_server_does_not_count() -> None:
    assert asking(HEAD + chunked(FINISH), calibrate) is PLAIN_RULER


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (refusal(401, "no"), "asks for an API key (HTTP 401); give one with --api-key"),
        (refusal(404, "the model 'm' is not served here"), "has no model 'm'"),
        (refusal(404, "Not Found"), "does not answer as an OpenAI-compatible server (HTTP 404)"),
        (refusal(503, "Loading model"), "answered HTTP 503: Loading model"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "the stream ended before [DONE]"),
        (b"hello\r\n\r\n", "the answer is not HTTP"),
    ],
)
def test_a_server_that_cannot_be_measured_is_one_line_of_why(answer: bytes, wanted: str) -> None:
    with pytest.raises(ServerUnusable) as caught:
        asking(answer, understood)
    assert wanted in caught.value.message
    assert "\n" not in caught.value.message


def test_a_server_that_refuses_ignore_eos_is_asked_without_it() -> None:
    class Picky:
        """Answers by what it is asked."""

        bodies: ClassVar[list[bytes]] = []

        def __call__(self, body: bytes) -> bytes:
            self.bodies.append(body)
            if b"ignore_eos" in body:
                return refusal(400, "Unrecognized request argument supplied: ignore_eos")
            return HEAD + chunked(*STREAM)

    target = asking(Picky(), understood)
    assert not target.ignore_eos
    assert len(Picky.bodies) == 2


@pytest.mark.parametrize("answer", [refusal(200, "no list"), b"HTTP/1.1 200 OK\r\n\r\n<html>"])
def test_a_list_of_models_that_is_none_means_no_such_server(answer: bytes) -> None:
    with pytest.raises(ServerUnusable, match="does not answer as an OpenAI-compatible server"):
        asking(answer, lambda target: served_model(target.endpoint))


def test_a_server_that_is_not_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(
        ServerUnusable, match=rf"no server answers at http://127.0.0.1:{port}: conn"
    ):
        asyncio.run(served_model(Endpoint("127.0.0.1", port)))


@given(st.lists(st.integers(0, 200), max_size=6))
def test_events_do_not_depend_on_where_the_network_cuts(cuts: list[int]) -> None:
    stream, decoder = b"".join(STREAM), EventDecoder()
    edges = [0, *sorted(cuts), len(stream)]
    seen = [data for start, end in pairwise(edges) for data in decoder.feed(stream[start:end])]
    assert seen == EventDecoder().feed(stream)
    assert len(seen) == len(STREAM)


def test_requests_are_greedy_of_exact_length_and_ask_for_usage() -> None:
    body = json.loads(chat_body(Target(Endpoint("host", 1), "m"), PROMPT))
    assert (body["temperature"], body["max_tokens"], body["ignore_eos"]) == (0, 3, True)
    assert body["stream_options"] == {"include_usage": True}
    assert "cache_prompt" not in body


def test_a_target_may_be_asked_to_choose_tokens_otherwise() -> None:
    target = Target(Endpoint("host", 1), "m", sampling={"temperature": 0.8, "top_k": 40})
    body = json.loads(chat_body(target, PROMPT))
    assert (body["temperature"], body["top_k"]) == (0.8, 40)
