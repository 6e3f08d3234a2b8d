"""``modal run`` of each function: the real client, then Modal's own runtime in the built image."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images.conftest import BUILD_SECONDS, HANG_SECONDS, MODEL, require_engine
from tests.modal.client import APP, ROOT, Completed
from tests.modal.conftest import MakeClient
from tests.modal.plane.plane import Plane
from tests.modal.small import small

require_engine()

pytestmark = [pytest.mark.docker, pytest.mark.timeout(BUILD_SECONDS + HANG_SECONDS)]

Run = Callable[..., Completed]


@pytest.fixture
def run(in_image: Plane, make_client: MakeClient) -> Run:
    """``modal run NAME``, with a plan for the small model."""
    client = make_client(small())

    def run(name: str, *arguments: str, **variables: str) -> Completed:
        done = client.run(name, *arguments, **variables)
        assert in_image.record.unexpected == []
        return done

    return run


def good(done: Completed) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bad(done: Completed) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_list_files_shows_what_is_in_the_volume(run: Run) -> None:
    assert f"/models/{MODEL}" in good(run("list_files"))


def test_info_tells_of_the_planned_model(run: Run) -> None:
    assert "134.5 M" in good(run("info"))


def test_gpu_specs_recommends_one(run: Run) -> None:
    said = good(run("gpu_specs"))
    assert "chosen: 1 x T4" in said
    assert "H200" in said


def test_cleanup_says_what_would_go_and_does_it_when_told(run, volume, in_image) -> None:
    left = volume / "acme" / "repo" / ".partial" / "gone.gguf"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x" * 100)
    os.utime(left, (0, 0))
    os.utime(left.parent, (0, 0))
    assert "acme/repo" in good(run("cleanup_gguf"))
    assert left.exists()
    good(run("cleanup_gguf", "--yes"))
    assert not left.exists()
    assert (volume / MODEL).exists()
    assert in_image.volumes.names["gguf-models"] in in_image.volumes.committed


def test_test_small_gguf_answers(run: Run) -> None:
    assert good(run("test_small_gguf", "--model", f"/models/{MODEL}")).strip()


def test_test_gguf_q8_refuses_a_plan_of_another_quantization(run: Run) -> None:
    assert "the plan is for Q4_1; make one with --quant Q8_0" in bad(run("test_gguf_q8"))


def test_test_gguf_q8_answers(in_image: Plane, make_client: MakeClient) -> None:
    good(make_client(small("Q8_0")).run("test_gguf_q8"))


def test_chat_answers_a_message(run: Run) -> None:
    good(run("chat", "--message", "Say hello."))


def test_chat_without_a_message_needs_a_terminal(run: Run) -> None:
    assert "without running Modal in interactive mode" in bad(run("chat"))


def test_benchmark_llamacpp_measures(in_image: Plane, make_client: MakeClient) -> None:
    client = make_client(small(context_tokens=512))
    options = "--workload single --requests 1 --concurrency 1"
    assert "single" in good(client.run("benchmark_llamacpp", "--options", options))


def test_serve_demo_tells_where_and_ends(run: Run) -> None:
    said = good(run("serve_demo", "--minutes", "0.01"))
    assert "https://tunnel.example.com/v1 for 0.01 minutes, with a key of GGUF_API_KEYS" in said
    assert "Traceback" not in said


def test_a_function_whose_command_fails_fails(run: Run, volume: Path) -> None:
    (volume / MODEL).unlink()
    said = bad(run("info"))
    assert f"/models/{MODEL}" in said


def test_it_runs_as_the_images_own_user_too(use_image, make_client) -> None:
    """Whose it is on Modal, only Modal knows."""
    use_image("--user", "10001:0")
    assert MODEL in good(make_client(small()).run("list_files"))


def test_the_old_name_may_be_a_link(in_image, make_client, tmp_path) -> None:
    old = tmp_path / "vllmserver.py"
    old.symlink_to(ROOT / APP)
    assert MODEL in good(make_client(small()).modal("run", f"{old}::list_files"))


def test_commands_do_not_see_modals_packages(run: Run, in_image: Plane) -> None:
    """They come before the image's own, and are other versions."""
    launch = in_image.containers.launch
    assert launch is not None

    def poisoned(recipe: Any) -> Any:
        module = recipe.directory / "root" / "root" / "msgspec.py"
        module.write_text("raise ImportError('this is not the msgspec of the image')")
        return launch(recipe)

    in_image.launch_with(poisoned)
    good(run("list_files"))
