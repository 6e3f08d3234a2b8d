"""HTTPS with the files that a user gives."""

import ssl
from pathlib import Path

import httpx

from tests.e2e.conftest import HANG_SECONDS, Serve, until

_FILES = Path(__file__).parent.parent / "server" / "tls"


def test_with_a_certificate_everything_is_https(serve: Serve) -> None:
    cert = str(_FILES / "cert.pem")
    server = serve("--tls-cert", cert, "--tls-key", str(_FILES / "key.pem"), ready=False)
    server.http.close()
    server.http = httpx.Client(verify=ssl.create_default_context(cafile=cert), timeout=HANG_SECONDS)
    server.wait_until_listening()
    assert server.url.startswith("https://")
    until(lambda: server.probe("readyz") == 200, "the server is ready")
    assert server.post("v1/completions", prompt="x", max_tokens=2).status_code == 200
    server.process.terminate()
    assert server.wait_until_ended() == 0
    assert f"curl {server.url}/v1/chat/completions" in "\n".join(server.output)
