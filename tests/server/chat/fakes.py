"""A server that speaks OpenAI's protocol, and misbehaves as it is told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT_SECONDS = 60.0  # ends a hang


class FakeServer(ThreadingHTTPServer):
    """``plays`` answers chat requests in turn; when there are none left, with "fine."."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plays: list[Play] = []
        self.models: list[str] = ["tiny"]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.startup: tuple[int, dict[str, object]] = (200, {"status": "ready", "message": ""})
        self.is_silent = threading.Event()
        self.client_left = threading.Event()
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""

    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["authorization"])
        if self.path.endswith("/v1/models"):
            self.answer(200, {"data": [{"id": name} for name in self.server.models]})
        elif self.path.endswith("/startupz"):
            self.answer(*self.server.startup)
        else:
            self.answer(404, {"error": {"message": "Not Found"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(json.loads(body))
        play = self.server.plays.pop(0) if self.server.plays else says("fine.")
        play(self)

    def answer(self, status: int, body: object, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def start_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.end_headers()

    def event(self, data: object) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.wfile.write(f"data: {text}\n\n".encode())

    def delta(self, finish_reason: str | None = None, **delta: str) -> None:
        self.event({"choices": [{"delta": delta, "finish_reason": finish_reason}]})


Play = Callable[[_Handler], None]


def says(*texts: str, reasoning: str = "", finish_reason: str = "stop") -> Play:
    def play(handler: _Handler) -> None:
        handler.start_stream()
        if reasoning:
            handler.delta(reasoning_content=reasoning)
        for text in texts:
            handler.delta(content=text)
        handler.delta(finish_reason)
        handler.event({"choices": [], "usage": {"completion_tokens": len(texts)}})
        handler.event("[DONE]")

    return play


def says_half(text: str) -> Play:
    """Then nothing, until the client leaves."""

    def play(handler: _Handler) -> None:
        handler.start_stream()
        handler.delta(content=text)
        handler.connection.settimeout(LIMIT_SECONDS)
        if handler.connection.recv(1) == b"":
            handler.server.client_left.set()

    return play


def cuts(text: str) -> Play:
    def play(handler: _Handler) -> None:
        handler.start_stream()
        handler.delta(content=text)

    return play


def breaks(event: object) -> Play:
    def play(handler: _Handler) -> None:
        handler.start_stream()
        handler.delta(content="so f")
        handler.event(event)

    return play


def refuses(status: int, message: str, code: str = "", **headers: str) -> Play:
    body = {"error": {"message": message, "code": code}}
    return lambda handler: handler.answer(status, body, **headers)


def is_silent(handler: _Handler) -> None:
    handler.server.is_silent.set()
    handler.server.go_on.wait(LIMIT_SECONDS)


def is_a_web_page(handler: _Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-type", "text/html")
    handler.end_headers()
    handler.wfile.write(b"<html>")
