"""``serve_api`` in the built image: requests arrive as Modal's edge sends them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from modal_proto import api_pb2

from gguf_server.models.placement import Placement
from tests.deploy.placements import moe_on_l40s
from tests.images.conftest import BUILD_SECONDS, HANG_SECONDS, MODEL, require_engine, until
from tests.modal.conftest import Edit, MakeClient, as_is
from tests.modal.plane.containers import Container
from tests.modal.plane.edge import Answer
from tests.modal.plane.plane import Plane
from tests.modal.small import small

require_engine()

pytestmark = [pytest.mark.docker, pytest.mark.timeout(BUILD_SECONDS + HANG_SECONDS)]

# The server, from inside: there is no pkill in the image.
KILL = """
import os
for pid in filter(str.isdecimal, os.listdir("/proc")):
    with open(f"/proc/{pid}/cmdline", "rb") as line:
        if b"/opt/gguf-server/bin/gguf-server" in line.read().split(bytes(1)):
            os.kill(int(pid), 9)
"""
KEY = {"authorization": "Bearer sesame", "content-type": "application/json"}

Serve = Callable[..., Container]


@pytest.fixture
def serve(in_image: Plane, make_client: MakeClient) -> Serve:
    """``modal deploy``, then a container, as for the first request."""

    def serve(edit: Edit = as_is, placement: Placement | None = None) -> Container:
        make_client(placement or small(), edit).deploy()
        return in_image.start("serve_api")

    return serve


def chat(plane: Plane, headers: dict[str, str], **more: Any) -> Answer:
    messages = [{"role": "user", "content": "Say hello."}]
    body = {"model": "smol", "messages": messages, "max_tokens": 8, **more}
    return plane.ask("serve_api", "/v1/chat/completions", json.dumps(body).encode(), headers)


def failure(plane: Plane, container: Container) -> str:
    """What Modal is told of a container that cannot start; it shows that to the user."""
    until(lambda: not container.is_running, "the container ends")
    [result] = plane.containers.results
    assert result.status == api_pb2.GenericResult.GENERIC_STATUS_FAILURE
    assert not plane.is_ready("serve_api")
    return str(result.exception)


def wait_until_ready(plane: Plane, container: Container) -> None:
    until(lambda: plane.is_ready("serve_api") or not container.is_running, "it is ready")
    assert container.is_running, container.log


def test_it_answers_a_chat_completion(serve: Serve, in_image: Plane) -> None:
    wait_until_ready(in_image, serve())
    # To Modal a connection is enough, and our server listens at once: this one was ready.
    assert in_image.ask("serve_api", "/readyz").status == 200
    whole = chat(in_image, KEY)
    assert whole.status == 200, whole.body
    assert json.loads(whole.body)["choices"][0]["message"]["content"]
    streamed = chat(in_image, KEY, stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.body.rstrip().endswith(b"data: [DONE]")
    assert len(streamed.pieces) > 1  # as they come, not at once
    assert chat(in_image, {"content-type": "application/json"}).status == 401
    assert in_image.record.unexpected == []


def test_a_server_that_dies_takes_its_container_with_it(serve, in_image, engine) -> None:
    container = serve()
    wait_until_ready(in_image, container)
    ours = ("--filter", f"label={engine.name}")
    engine.call("exec", engine.output("container", "ls", "--quiet", *ours), "python", "-c", KILL)
    until(lambda: not container.is_running, "the container ends")
    assert container.process.returncode != 0


def test_a_model_that_was_not_downloaded(serve, in_image) -> None:
    """No hub is asked: the Volume could not take what came."""
    said = failure(in_image, serve(placement=moe_on_l40s()))
    assert "gguf-server ended with 9: acme/moe-8x3b-gguf was never fetched into /models" in said


def test_a_model_that_cannot_be_loaded_fails_at_once_with_the_reason(
    serve, in_image, volume
) -> None:
    (volume / MODEL).write_bytes(b"no GGUF")
    said = failure(in_image, serve())
    assert "gguf-server ended with 3:" in said
    assert "is not a GGUF file" in said


def test_a_key_that_is_empty_does_not_open_the_server(serve, in_image) -> None:
    in_image.secrets.named["gguf-server"] = {"GGUF_API_KEYS": " "}
    assert "GGUF_API_KEYS has no key in it" in failure(in_image, serve())


def test_a_server_whose_port_never_opens_is_given_up(serve, use_image, tmp_path) -> None:
    sleeper = tmp_path / "gguf-server"
    sleeper.write_text("#!/bin/sh\nexec sleep 1000\n")
    sleeper.chmod(0o755)
    plane = use_image("--volume", f"{sleeper}:/opt/gguf-server/bin/gguf-server:ro")
    said = failure(plane, serve(lambda plan: plan.update(startup_timeout=1)))
    assert "gguf-server was not ready after 1 s" in said
