"""The way back to vLLM: another engine behind the same service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.charts.rendering import COMMIT, Json, environment, render
from tests.charts.tools import ROOT

VLLM: Json = {
    "engine": "vllm",
    "model": {"name": "org/safetensors", "servedName": "org/repo"},
    "gpu": {"count": 2},
    "apiKey": {"existingSecret": "keys"},
}


def test_it_serves_the_same_name_on_the_same_port() -> None:
    found = render(VLLM)
    server = found.server
    compose = (ROOT / "deploy" / "compose" / "compose.yaml").read_text()
    assert f":-{server['image']}}}" in compose, "one version of vLLM everywhere"
    assert server["command"][:2] == ["sh", "-c"]
    assert render(VLLM | {"apiKey": {}}).server["command"] == ["vllm", "serve"]
    assert server["args"] == [
        "org/safetensors",
        "--port=8000",
        "--served-model-name=org/repo",
        f"--revision={COMMIT}",
        "--tensor-parallel-size=2",
    ]
    assert server["ports"] == render().server["ports"]
    assert found.one("Service") == render().one("Service")
    assert found.one("Deployment")["metadata"] == render().one("Deployment")["metadata"]


def test_its_probes_are_its_own() -> None:
    server = render(VLLM).server
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    assert {server[probe]["httpGet"]["path"] for probe in probes} == {"/health"}


def test_it_has_its_key_and_its_own_words_for_offline() -> None:
    rendered = render(VLLM)
    found = environment(rendered.server)
    mounts = {each["name"]: each["mountPath"] for each in rendered.server["volumeMounts"]}
    assert found["KEY_FILE"] == f"{mounts['api-keys']}/api-keys"
    (volume,) = (each for each in rendered.pod["volumes"] if each["name"] == "api-keys")
    assert volume["secret"]["secretName"] == "keys"
    assert "VLLM_API_KEY" not in found, "of several lines it would be one key that nobody has"
    assert found["HF_HUB_OFFLINE"] == "1"
    assert not [name for name in found if name.startswith("GGUF_")]


@pytest.mark.parametrize(
    ("keys", "key"),
    [("one", "one"), ("one\n", "one"), ("# of the team\n\n  one \r\ntwo\n", "one"), ("#\n", None)],
)
def test_its_key_is_the_first_of_the_file(keys: str, key: str | None, tmp_path: Path) -> None:
    """As the pod runs it, with a stub for vllm. Without a key nobody is let in, rather than all."""
    stub = tmp_path / "vllm"
    stub.write_text('#!/bin/sh\nprintf "[%s]" "$VLLM_API_KEY" "$@"\n')
    stub.chmod(0o755)
    (tmp_path / "keys").write_text(keys)
    server = render(VLLM).server
    done = subprocess.run(
        [*server["command"], *server["args"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEY_FILE": str(tmp_path / "keys")},
        capture_output=True,
        text=True,
        check=False,
    )
    if key is None:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"{tmp_path}/keys has no key: write one on a line\n"
    else:
        words = [key, "serve", *server["args"]]
        assert done.stdout == "".join(f"[{each}]" for each in words), done.stderr


def test_a_pod_that_ends_is_asked_no_more_before_it_stops() -> None:
    found = render(VLLM | {"drain": {"delaySeconds": 7}})
    assert found.server["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "7"]
    assert "lifecycle" not in render().server, "gguf-server drains by itself"


def test_autoscaling_and_alerts_ask_for_its_series_or_for_none() -> None:
    values = VLLM | {
        "volume": {"type": "ephemeral"},
        "autoscaling": {"type": "hpa"},
        "metrics": {"rules": {"enabled": True}},
    }
    found = render(values)
    (metric,) = found.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "vllm:num_requests_waiting"
    assert not found.all("PrometheusRule")


STUB = """
import os, time
time.sleep = print
def snapshot_download(name, revision, local_files_only, ignore_patterns):
    print(name, revision, local_files_only, flush=True)
    if not os.path.exists("here"):
        open("here", "w").close()
        raise FileNotFoundError("nothing")
"""


@pytest.mark.parametrize("waits", [False, True])
def test_its_fetch_downloads_or_waits_for_who_does(waits: bool, tmp_path: Path) -> None:
    """With a stub for the hub's library, which stops time as well."""
    (tmp_path / "huggingface_hub.py").write_text(STUB)
    values = VLLM | {"fetch": {"prefetch": waits}, "volume": {"accessModes": ["ReadWriteMany"]}}
    fetch = render(values).fetch
    variables = {k: v for k, v in environment(fetch).items() if isinstance(v, str)}
    command = [sys.executable, *fetch["command"][1:], *fetch["args"]]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    asked = f"org/safetensors {COMMIT} {waits}"
    if waits:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [asked, "not here yet: nothing", "10", asked]
    else:
        assert done.returncode == 1
        assert done.stdout.splitlines() == [asked]
