"""What cannot work is said where ``modal`` is typed, in one line, with what to do."""

from pathlib import Path

import pytest

from tests.deploy.placements import COMMIT, moe_on_l40s
from tests.modal.client import APP, Completed
from tests.modal.conftest import MakeClient
from tests.modal.plane.plane import Plane

MAKE = "make one: gguf-deploy plan"


def only_line(done: Completed) -> str:
    assert done.returncode == 1, done.stdout
    [line] = (done.stdout + done.stderr).splitlines()
    return line


def test_a_missing_plan(plane: Plane, make_client: MakeClient, tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    line = only_line(make_client().modal("deploy", APP, MODAL_PLAN=str(path), MODEL_NAME="a/b"))
    assert "No such file or directory" in line
    assert line.endswith(f"{MAKE} a/b --format modal > {path}")
    assert plane.record.calls == []


@pytest.mark.parametrize("text", ["", '{"model_names": ["a/b"], "resources": {}}'])
def test_what_is_no_plan(plane, make_client, tmp_path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    line = only_line(make_client().modal("run", f"{APP}::info", MODAL_PLAN=str(path)))
    assert line.startswith(f"modal_app: {path} will not do: ")
    assert MAKE in line
    assert plane.record.calls == []


def test_a_plan_for_another_model(plane, make_client) -> None:
    line = only_line(make_client().modal("deploy", APP, MODEL_NAME="acme/other"))
    assert f"it is for acme/moe-8x3b-gguf@{COMMIT}:Q8_0, not for MODEL_NAME=acme/other;" in line
    assert f"{MAKE} acme/other --format modal" in line
    assert plane.record.calls == []


def test_but_the_planned_model_may_be_named(plane, make_client) -> None:
    make_client().deploy(MODEL_NAME="acme/moe-8x3b-gguf:Q8_0")


def test_gpus_that_modal_does_not_have(plane, make_client) -> None:
    gpus = ["L4", "H1OO", "A100-8OGB:2", "B200+", "L4:9", "l4", "L4:", "A10:0"]
    client = make_client(moe_on_l40s(), lambda plan: plan["resources"].update(gpu=gpus))
    line = only_line(client.modal("deploy", APP))
    assert f"Modal has no GPU H1OO, A100-8OGB:2, L4:9, l4, L4:, A10:0; {MAKE}" in line
    assert plane.record.calls == []


@pytest.mark.parametrize(
    "setting",
    [
        "GGUF_IMAGE=",
        "MAX_CONTAINERS=0",
        "MAX_CONTAINERS=",
        "MAX_CONTAINERS=x",
        "REGISTRY_SECRET=a b",
    ],
)
def test_a_setting_that_will_not_do(plane, make_client, setting: str) -> None:
    """0 containers would be no limit to Modal."""
    name, _, value = setting.partition("=")
    line = only_line(make_client().modal("deploy", APP, **{name: value}))
    assert line == f"modal_app: {setting} will not do; see docs/modal.md"
    assert plane.record.calls == []


@pytest.mark.parametrize("key", ["startup_timeout", "max_inputs", "environment", "placement"])
def test_a_plan_that_lacks_something(plane, make_client, key: str) -> None:
    client = make_client(moe_on_l40s(), lambda plan: plan.pop(key))
    assert f"will not do: '{key}'; {MAKE}" in only_line(client.modal("deploy", APP))
    assert plane.record.calls == []


def test_a_secret_that_is_not_there(plane, make_client) -> None:
    plane.secrets.named.clear()
    done = make_client().modal("deploy", APP)
    assert done.returncode == 1
    assert "Secret 'gguf-server' not found" in done.stdout + done.stderr


def test_a_secret_without_the_key(plane, make_client) -> None:
    plane.secrets.named["gguf-server"] = {"API_KEY": "sesame"}
    done = make_client().modal("deploy", APP)
    assert done.returncode == 1
    assert "missing key(s): GGUF_API_KEYS" in done.stdout + done.stderr


def test_a_named_volume_that_is_not_there_is_not_made(plane, make_client) -> None:
    done = make_client().modal("deploy", APP, MODELS_VOLUME="old-modles")
    assert done.returncode == 1
    assert "Volume 'old-modles' not found" in done.stdout + done.stderr
    assert plane.volumes.names == {}


def test_serve_api_is_not_for_modal_run(plane, make_client) -> None:
    """Modal's own refusal; docs/migration.md names the commands instead."""
    done = make_client().run("serve_api")
    assert done.returncode == 1
    assert "serve_api" in done.stdout + done.stderr


def test_the_plan_lies_beside_the_file_unless_told_otherwise(plane, make_client) -> None:
    line = only_line(make_client().modal("deploy", APP, MODAL_PLAN=""))
    assert line.endswith("deploy/modal_plan.json")
