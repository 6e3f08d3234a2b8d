import json
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.endpoint import Endpoint, Refusal, one_line
from gguf_server.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://host:8000/", Endpoint("host", 8000)),
        ("http://host:8000/v1/", Endpoint("host", 8000)),
        ("https://host/base/v1", Endpoint("host", 443, "/base", tls=True)),
        ("https://host/base", Endpoint("host", 443, "/base", tls=True)),
        ("http://[::1]:80", Endpoint("::1", 80)),
    ],
)
def test_a_url_is_taken_with_and_without_v1(url: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(url) == endpoint


def test_a_path_comes_behind_the_prefix() -> None:
    assert Endpoint.parse("https://h/b/v1").url("/v1/models") == "https://h:443/b/v1/models"
    assert Endpoint.parse("http://[::1]:80").url("/x") == "http://[::1]:80/x"


@pytest.mark.parametrize(
    "url", ["host:8000", "http://", "http://h:x", "http://[::1", "ftp://h", ""]
)
def test_what_is_no_url_is_one_line(url: str) -> None:
    with pytest.raises(SettingsError, match="looks like http://host:8000"):
        Endpoint.parse(url)


@pytest.mark.parametrize("key", ["a\r\nHost: evil", "clé"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="API key"):
        Endpoint.parse("http://host", key)


@given(st.integers(100, 599), st.binary(max_size=60))
def test_whatever_a_server_sends_its_refusal_is_one_line(status: int, body: bytes) -> None:
    line = Refusal.read(status, body).error(Endpoint("host", 1), "m").message
    assert line.isprintable()


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded", "message": "too long"},
        {"code": 400, "message": "the request exceeds the available context size"},
        {"message": "This model's maximum context length is 4096 tokens."},
    ],
)
def test_a_full_context_is_known_from_any_server(error: dict[str, object]) -> None:
    assert Refusal.read(400, json.dumps({"error": error}).encode()).is_context_full


def test_a_wrong_path_is_no_missing_model_even_if_its_error_names_models() -> None:
    refusal = Refusal(404, "there is nothing at GET /x/v1/models")
    line = refusal.error(Endpoint.parse("http://host:1/x")).message
    assert line.endswith("(HTTP 404); is the URL right?")


def test_https_to_a_server_of_http_is_told_in_plain_words() -> None:
    client, server = socket.socketpair()
    server.sendall(b"HTTP/1.1 400 Bad Request")
    with client, server, pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().wrap_socket(client, server_hostname="localhost")
    line = Endpoint.parse("https://127.0.0.1:1").unreachable(caught.value).message
    assert "does not speak HTTPS, perhaps HTTP;" in line


def test_control_characters_of_strangers_do_not_reach_a_terminal() -> None:
    assert one_line("a\x1b[31m\nb\x9b") == "a [31m b"
