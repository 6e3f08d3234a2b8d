"""Clients that vanish, dawdle or say nothing: they take no slot and stop no drain."""

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import HANG_SECONDS, Serve, ServerUnderTest, until

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
UNFINISHED = {
    "no head": b"",
    "half a head": HEAD,
    "half a body": HEAD + b'content-length: 100\r\n\r\n{"prompt": ',
    "half a chunk": HEAD + b'transfer-encoding: chunked\r\n\r\n40\r\n{"prompt": ',
}
IDLE = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


@contextmanager
def connected(server: ServerUnderTest, *sent: bytes) -> Iterator[list[socket.socket]]:
    """A connection for each, open until the end of the block."""
    address = ("127.0.0.1", httpx.URL(server.url).port or 0)
    with contextlib.ExitStack() as stack:
        clients = []
        for data in sent:
            client = stack.enter_context(socket.create_connection(address, HANG_SECONDS))
            client.sendall(data)
            clients.append(client)
        yield clients


def request(**body: object) -> bytes:
    raw = json.dumps(body).encode()
    return HEAD + b"content-length: %d\r\n\r\n" % len(raw) + raw


def all_of(client: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            received += data
    return received


def test_clients_that_vanish_while_their_prompt_is_computed_are_not_computed_for(
    serve: Serve,
) -> None:
    server = serve("--slots", "2", "--max-batch-tokens", "32")
    prompts = [f"{number} " + "many words " * 1500 for number in range(4)]
    with connected(server, *(request(prompt=prompt, max_tokens=4) for prompt in prompts)):
        until(lambda: server.metric("num_requests_running") == 2, "two prompts are computed")
        until(lambda: server.metric("num_requests_waiting") == 2, "two wait")
    until(lambda: cancelled(server) == 4, "all are cancelled")
    assert server.post("v1/completions", prompt="Hello", max_tokens=4).status_code == 200
    assert server.metric("prompt_tokens_computed_total") < 6000, "two prompts have as many"


def cancelled(server: ServerUnderTest) -> float:
    return server.metric('requests_total{finished_reason="cancelled"}')


def test_a_client_that_hardly_reads_holds_no_slot_and_stops_no_drain(
    serve: Serve, tiny_model: Path
) -> None:
    server = serve(str(tiny_model), "--slots", "1", "--threads", "1")
    body = request(prompt="the cat", max_tokens=400, stream=True, ignore_eos=True)
    with connected(server, body, body, body) as clients:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            assert client.recv(1) == b"H", "one byte, and one more now and then"
        until(lambda: finished(server) == 3, "all are computed all the same")
        assert server.post("v1/completions", prompt="the", max_tokens=4).status_code == 200
        assert clients[0].recv(1) == b"T"
        server.process.terminate()
        assert server.wait_until_ended() == 0


def finished(server: ServerUnderTest) -> float:
    return server.metric('requests_total{finished_reason="length"}')


@pytest.mark.parametrize("kind", UNFINISHED)
def test_an_unfinished_request_is_ended_in_time(impatient: ServerUnderTest, kind: str) -> None:
    with connected(impatient, UNFINISHED[kind]) as [client]:
        answer = all_of(client)
    if "half a body" in kind or "half a chunk" in kind:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in answer


def read_answer(client: socket.socket) -> None:
    """All of it: head and body are sent apart, and may come apart."""
    received = b""
    while not received.endswith(b"}"):
        data = client.recv(1 << 16)
        assert data, received
        received += data
    assert b" 200 " in received


def test_a_client_may_come_back_to_its_connection(impatient: ServerUnderTest) -> None:
    """Later than the five seconds that uvicorn would give it: load balancers do."""
    with connected(impatient, IDLE) as [client]:
        read_answer(client)
        client.settimeout(6)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(HANG_SECONDS)
        client.sendall(IDLE)
        read_answer(client)


def test_idle_connections_do_not_keep_others_out(impatient: ServerUnderTest) -> None:
    with connected(impatient, *[UNFINISHED["half a head"]] * 200):
        assert impatient.probe("livez") == 200
        assert impatient.post("v1/completions", prompt="the", max_tokens=4).status_code == 200


@pytest.fixture(scope="module")
def impatient(tiny_model: Path) -> Iterator[ServerUnderTest]:
    """It waits for no client longer than a second, and has no more than 50 connections."""
    limits = ("--client-timeout-seconds", "1", "--max-connections", "50")
    shared = ServerUnderTest(str(tiny_model), *limits)
    shared.wait_until_ready()
    yield shared
    shared.stop()


def test_unfinished_requests_stop_no_drain(serve: Serve, tiny_model: Path) -> None:
    server = serve(str(tiny_model), "--drain-grace-seconds", "100", "--threads", "1")
    with connected(server, IDLE, *UNFINISHED.values()):
        until(lambda: server.probe("livez") == 200, "they are all connected")
        server.process.terminate()
        assert server.wait_until_ended() == 0
    assert "Traceback" not in "\n".join(server.errors)
