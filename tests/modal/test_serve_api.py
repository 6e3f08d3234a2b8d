"""``serve_api`` in the built image: requests arrive as Modal's edge sends them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.images.conftest import BUILD_SECONDS, HANG_SECONDS, MODEL, require_engine, until
from tests.modal.conftest import MakeClient
from tests.modal.plane.containers import Container
from tests.modal.plane.edge import Answer
from tests.modal.plane.plane import Plane
from tests.modal.small import small

require_engine()

pytestmark = [pytest.mark.docker, pytest.mark.timeout(BUILD_SECONDS + HANG_SECONDS)]

KEY = {"authorization": "Bearer sesame", "content-type": "application/json"}

Serve = Callable[..., Container]


@pytest.fixture
def serve(in_image: Plane, make_client: MakeClient) -> Serve:
    """``modal deploy``, then a container, as for the first request."""

    def serve(edit: Callable[[Any], object] = lambda _: None, **variables: str) -> Container:
        make_client(small(), edit, **variables).deploy()
        return in_image.start("serve_api")

    return serve


def chat(plane: Plane, headers: dict[str, str], **more: Any) -> Answer:
    messages = [{"role": "user", "content": "Say hello."}]
    body = {"model": "smol", "messages": messages, "max_tokens": 8, **more}
    return plane.ask("serve_api", "/v1/chat/completions", json.dumps(body).encode(), headers)


def ended(container: Container) -> str:
    """What a container that had to end printed."""
    until(lambda: container.process.poll() is not None, "the container ends")
    assert container.process.returncode != 0
    return container.log


def test_it_answers_a_chat_completion(serve: Serve, in_image: Plane) -> None:
    container = serve()
    until(lambda: in_image.is_ready("serve_api") or not container.is_running, container.log)
    whole = chat(in_image, KEY)
    assert whole.status == 200, whole.body
    assert json.loads(whole.body)["choices"][0]["message"]["content"]
    streamed = chat(in_image, KEY, stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.body.rstrip().endswith(b"data: [DONE]")
    assert len(streamed.pieces) > 1  # as they come, not at once
    assert chat(in_image, {"content-type": "application/json"}).status == 401
    assert in_image.ask("serve_api", "/readyz").status == 200
    assert in_image.record.unexpected == []


def test_to_modal_it_is_ready_only_when_the_model_is_loaded(serve, in_image) -> None:
    """Modal takes the first connection for readiness, and our server listens at once."""
    container = serve()
    until(lambda: in_image.is_ready("serve_api") or not container.is_running, container.log)
    assert in_image.ask("serve_api", "/readyz").status == 200
    assert "ready" in container.log


def test_a_server_that_dies_takes_its_container_with_it(serve, in_image, engine) -> None:
    container = serve()
    until(lambda: in_image.is_ready("serve_api") or not container.is_running, container.log)
    kill = "import os; [os.kill(int(p), 9) for p in os.listdir('/proc') if p.isdecimal() and b'gguf-server' in open(f'/proc/{p}/cmdline','rb').read()]"  # noqa: E501
    [running] = engine.output("container", "ls", "--quiet", "--filter", f"label={engine.name}").split()
    engine.call("exec", running, "python", "-c", kill, check=False)
    ended(container)


def test_a_model_that_was_not_downloaded(serve, in_image, volume) -> None:
    (volume / MODEL).unlink()
    said = ended(serve())
    assert f"/models/{MODEL}" in said
    assert MODEL in in_image.containers.results[-1].exception


def test_a_model_that_cannot_be_loaded_fails_at_once_with_the_reason(serve, in_image, volume) -> None:
    (volume / MODEL).write_bytes(b"no GGUF")
    ended(serve())
    [result] = in_image.containers.results
    assert "gguf-server ended with 3:" in result.exception
    assert "is not a GGUF file" in result.exception


def test_a_server_that_is_never_ready_is_given_up(serve, in_image) -> None:
    ended(serve(lambda plan: plan.update(startup_timeout=0)))
    [result] = in_image.containers.results
    assert "gguf-server was not ready after 0 s" in result.exception


def test_a_secret_with_an_empty_key_does_not_open_the_server(serve, in_image) -> None:
    in_image.secrets.named["gguf-server"] = {"GGUF_API_KEYS": " "}
    ended(serve())
    [result] = in_image.containers.results
    assert "GGUF_API_KEYS" in result.exception
