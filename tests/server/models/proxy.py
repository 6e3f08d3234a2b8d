"""A forward proxy that remembers whom it asked."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2


class Proxy:
    """For plain HTTP: a request line with a whole address."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.forward(self)

            def do_HEAD(self) -> None:
                proxy.forward(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        address = urlsplit(request.path)
        self.hosts.add(f"{address.scheme}://{address.netloc}")
        with httpx2.Client(trust_env=False) as client:
            answer = client.request(request.command, request.path, headers=dict(request.headers))
        request.send_response(answer.status_code)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(answer.content)
