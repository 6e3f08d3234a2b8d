"""A server whose model has no room says so before it loads, and checks the plan it was given."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from gguf_server.knobs import Knobs
from gguf_server.models.placement import Placement, dumps
from tests.deploy.placements import dense_on_cpu
from tests.e2e.conftest import ServerUnderTest

TERABYTES = ("--context", "2000000", "--slots", "8")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    return path


def plan(tmp_path: Path, model: Path, knobs: Knobs) -> Path:
    made: Placement = dense_on_cpu()
    path = tmp_path / "plan.json"
    made = replace(made, model=replace(made.model, reference=str(model)), knobs=knobs, devices=())
    path.write_text(dumps(made))
    return path


def test_what_cannot_fit_is_refused_before_it_is_loaded(model_path: Path, log: Path) -> None:
    server = ServerUnderTest(str(model_path), *TERABYTES, "--termination-log", str(log))
    try:
        assert server.wait_until_ended() == 11
        said = server.errors[-1]
        assert f"{model_path} does not fit: the host needs " in said
        assert "--memory-check off" in said
        assert "does not fit" in log.read_text()
    finally:
        server.stop()


def test_a_plan_for_another_model_is_refused(model_path: Path, tmp_path: Path) -> None:
    path = plan(tmp_path, Path("/models/other.gguf"), Knobs())
    server = ServerUnderTest(str(model_path), "--plan", str(path))
    try:
        assert server.wait_until_ended() == 11
        assert f"is for /models/other.gguf, not {model_path}" in server.errors[-1]
    finally:
        server.stop()


def test_options_that_are_not_as_planned_are_in_the_log(model_path: Path, tmp_path: Path) -> None:
    path = plan(tmp_path, model_path, Knobs(context_tokens=512, slots=4))
    options = ("--context", "256", "--slots", "4")
    server = ServerUnderTest(str(model_path), *options, "--plan", str(path))
    try:
        server.wait_until_ready()
        assert any("the plan counted with --context 512, not 256" in line for line in server.errors)
    finally:
        server.stop()


def test_a_server_can_be_told_to_try_all_the_same(model_path: Path) -> None:
    options = ("--context", "256", "--slots", "1", "--memory-check", "off")
    server = ServerUnderTest(str(model_path), *options)
    try:
        server.wait_until_ready()
        assert server.post("v1/completions", prompt="The sky is", max_tokens=2).status_code == 200
    finally:
        server.stop()
