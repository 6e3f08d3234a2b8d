"""Clients that take their time, on bare sockets."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from tests.server.api.fakes import FakeEngine, Server, serving, until

pytestmark = pytest.mark.anyio

PROBE = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
IMPATIENT = {"patience_seconds": 0.2}


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def assert_cut_off(reader: StreamReader) -> None:
    with suppress(ConnectionResetError):
        assert await reader.read() == b""


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GE", PROBE[:-2]])
async def test_a_head_that_is_not_finished_is_cut_off(start: bytes):
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        writer.write(start)
        await assert_cut_off(reader)


async def test_a_head_that_comes_byte_by_byte_is_cut_off():
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        cut = asyncio.create_task(assert_cut_off(reader))
        writer.write(b"GET /livez HTTP/1.1\r\nx: ")
        while not cut.done():
            writer.write(b"x")
            await asyncio.sleep(0.01)
        await cut


async def test_the_second_request_of_a_connection_has_no_more_time_than_the_first():
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        writer.write(PROBE)
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"}")
        writer.write(PROBE[:-2])
        await assert_cut_off(reader)


async def test_a_request_that_began_before_the_last_answer_has_no_more_time_either():
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        writer.write(PROBE + PROBE[:-2])
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"}")
        await assert_cut_off(reader)


async def test_between_two_requests_a_client_may_take_longer_than_for_one():
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        for _ in range(2):
            writer.write(PROBE)
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"}")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 2 * IMPATIENT["patience_seconds"])


async def test_two_requests_sent_at_once_are_both_answered():
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        writer.write(PROBE + PROBE)
        answers = b""
        while answers.count(b" 200 ") < 2:
            answers += await reader.read(1000)


@pytest.mark.parametrize("length", [b"content-length: 100", b"transfer-encoding: chunked"])
async def test_a_body_that_is_not_finished_is_answered_with_408(length: bytes):
    async with serving(FakeEngine(), **IMPATIENT) as server, connected(server) as (reader, writer):
        writer.write(HEAD + length + b"\r\n\r\n")
        answer = await reader.read()  # to its end: the connection is closed
        assert b" 408 " in answer
        assert b"request_timeout" in answer
        assert server.errors == ["request_timeout"]


async def test_an_answer_may_take_longer_than_the_request():
    engine = FakeEngine(pieces=None)
    async with serving(engine, **IMPATIENT) as server, connected(server) as (reader, writer):
        body = b'{"prompt": "hi", "stream": true}'
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: engine.submitted)
        await asyncio.sleep(2 * IMPATIENT["patience_seconds"])
        engine.submitted[0].generation.accept(1)
        assert b" 200 " in await reader.readline()


async def test_who_does_not_read_is_cut_off_and_his_request_ends():
    engine = FakeEngine(pieces=None)
    async with serving(engine, **IMPATIENT) as server:
        with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            body = b'{"prompt": "hi", "stream": true}'
            client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            await until(lambda: engine.submitted)
            generation = engine.submitted[0].generation
            generation.accept(1)

            def is_cut_off() -> bool:
                generation.add("x" * 100_000, 1, 0.0)
                return engine.submitted[0].left

            await until(is_cut_off)


async def test_beyond_the_limit_the_longest_idle_makes_room_and_who_is_busy_stays():
    engine = FakeEngine(pieces=None)
    async with serving(engine, max_connections=3) as server, connected(server) as (busy, writer):
        body = b'{"prompt": "hi"}'
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: engine.submitted)
        async with connected(server) as (first, _), connected(server) as (second, _):
            async with connected(server) as (reader, third):
                third.write(PROBE)
                assert b" 200 " in await reader.readline()
                await assert_cut_off(first)
            assert not second.at_eof()
        generation = engine.submitted[0].generation
        generation.accept(1)
        generation.finish("stop")
        assert b" 200 " in await busy.readline()
