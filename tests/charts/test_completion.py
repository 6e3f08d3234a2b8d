"""`helm test`: its program, run as the pod would run it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.charts.rendering import environment, render


class Server(ThreadingHTTPServer):
    num_tokens = 3
    status = 200
    keys: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": "assistant"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["model"] == "assistant"
        if self.path == "/v1/embeddings":
            self.answer(200, {"data": [{"embedding": self.server.num_tokens * [0.5]}]})
            return
        usage = {"completion_tokens": self.server.num_tokens}
        self.answer(self.server.status, {"usage": usage, "choices": [{"text": " there was"}]})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.server.keys.append(self.headers["Authorization"])
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    found.keys = []
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def ask(url: str, **more: str) -> subprocess.CompletedProcess[str]:
    (container,) = render().one("Pod")["spec"]["containers"]
    _, *arguments = container["command"]
    variables = {
        "URL": url,
        "SECONDS": "20",
        "ASKS_FOR": "text",
        "HTTP_PROXY": "http://127.0.0.1:9",
        **more,
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_tokens_that_come_are_success(server: Server) -> None:
    done = ask(url(server), API_KEYS="# of the team\nsecret\nother\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "assistant: 3 tokens: ' there was'\n"
    assert server.keys == ["Bearer secret", "Bearer secret"]


def test_of_a_model_that_only_embeds_a_vector_is_asked(server: Server) -> None:
    done = ask(url(server), ASKS_FOR="vector")
    assert (done.returncode, done.stdout) == (0, "assistant: 3 numbers\n")
    (container,) = render({"test": {"embeddings": True}}).one("Pod")["spec"]["containers"]
    assert environment(container)["ASKS_FOR"] == "vector"


@pytest.mark.parametrize(("asks_for", "what"), [("text", "token"), ("vector", "vector")])
def test_nothing_is_a_failure(asks_for: str, what: str, server: Server) -> None:
    server.num_tokens = 0
    done = ask(url(server), ASKS_FOR=asks_for)
    assert (done.returncode, done.stderr) == (1, f"{url(server)}: no {what} came\n")


def test_an_error_is_told_with_what_the_server_said(server: Server) -> None:
    server.status = 503
    done = ask(url(server))
    assert done.returncode == 1
    assert "503" in done.stderr
    assert "there was" in done.stderr


def test_nobody_there_is_one_line(server: Server) -> None:
    address = url(server)
    server.server_close()
    done = ask(address)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{address}: ")
    assert done.stderr.count("\n") == 1


def test_the_pod_asks_the_service_with_the_key() -> None:
    values = {"apiKey": {"existingSecret": "k"}, "service": {"port": 80}}
    found = render(values).one("Pod")
    variables = environment(found["spec"]["containers"][0])
    assert variables["URL"] == "http://llm-gguf-server:80"
    assert variables["API_KEYS"] == {"secretKeyRef": {"name": "k", "key": "api-keys"}}
    assert found["metadata"]["annotations"]["helm.sh/hook"] == "test"
