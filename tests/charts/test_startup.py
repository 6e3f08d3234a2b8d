"""How long a pod may take: the plan's numbers, the same without a plan, or safe ones."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_deploy.formats import helm
from gguf_deploy.planning.startup import parse_storage, startup
from gguf_server.models.placement import Startup
from gguf_server.settings.serve import Settings
from tests.charts.rendering import Json, environment, notes, render
from tests.deploy.placements import experts_on_cpu_with_two_gpus, moe_on_l40s

MOE_LOAD_SECONDS = 180


def seconds(pod_spec: Json) -> int:
    probe = pod_spec["containers"][0]["startupProbe"]
    return int(probe["periodSeconds"] * probe["failureThreshold"])


@pytest.mark.parametrize("size_bytes", [100_000_000, 19_560_000_000, 380_000_000_000])
@pytest.mark.parametrize("num_gpus", [0, 2])
def test_without_a_plan_size_gives_the_budgets_that_a_plan_would(
    size_bytes: int, num_gpus: int
) -> None:
    planned = startup(size_bytes, parse_storage("pd"), on_gpu=num_gpus > 0, num_gpus=num_gpus)
    found = render({"model": {"sizeBytes": size_bytes}, "gpu": {"count": num_gpus}})
    budget = planned.probe_period_seconds * planned.probe_failure_threshold
    assert 0 <= seconds(found.pod) - budget < 10, "whole periods"
    deadline = found.one("Deployment")["spec"]["progressDeadlineSeconds"]
    assert abs(deadline - planned.progress_deadline_seconds) < 10


def test_without_a_size_a_long_load_survives() -> None:
    found = render()
    assert seconds(found.pod) == 3600 > 10 * MOE_LOAD_SECONDS
    assert found.one("Deployment")["spec"]["progressDeadlineSeconds"] == 3600 + 3600 + 900


@pytest.mark.parametrize("placement", [moe_on_l40s, experts_on_cpu_with_two_gpus])
def test_a_plan_is_taken_to_the_second(placement) -> None:
    planned: Startup = placement().startup
    found = render(helm.values(placement()))
    assert seconds(found.pod) == planned.probe_period_seconds * planned.probe_failure_threshold
    deadline = found.one("Deployment")["spec"]["progressDeadlineSeconds"]
    assert deadline == planned.progress_deadline_seconds
    assert f"--timeout {planned.helm_timeout_seconds}s" in notes(helm.values(placement()))


def test_the_server_s_own_stall_detector_speaks_first() -> None:
    """Even of the smallest model, whose load stalls at its end."""
    assert seconds(render({"model": {"sizeBytes": 1}}).pod) > 2 * Settings().load_stall_seconds


def test_probes_ask_where_nothing_waits_for_the_engine() -> None:
    server = render().server
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    asked = [server[probe]["httpGet"] for probe in probes]
    assert asked == [
        {"path": f"/{path}", "port": "http"} for path in ("startupz", "readyz", "livez")
    ]
    assert server["ports"] == [{"name": "http", "containerPort": 8000}]
    assert all("initialDelaySeconds" not in server[probe] for probe in probes)
    assert all(server[probe]["timeoutSeconds"] >= 5 for probe in probes)


def test_requests_may_finish_before_a_pod_is_killed() -> None:
    found = render({"drain": {"delaySeconds": 5, "graceSeconds": 300}})
    assert found.pod["terminationGracePeriodSeconds"] == 320
    variables = environment(found.server)
    assert variables["GGUF_DRAIN_DELAY_SECONDS"] == "5"
    assert variables["GGUF_DRAIN_GRACE_SECONDS"] == "300"


WAITS = {
    "gguf-server": "#!/bin/sh\necho asked\nexit 1\n",
    "huggingface_hub.py": """
def snapshot_download(*_, **__):
    print("asked", flush=True)
    raise FileNotFoundError("nothing")
""",
}


@pytest.mark.parametrize("engine", ["llama-cpp", "vllm"])
def test_what_waits_for_the_model_ends_when_its_pod_does(engine: str, tmp_path: Path) -> None:
    """As process 1 it must ask for the signal itself, or each such pod ends by SIGKILL."""
    for name, content in WAITS.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    values = {"engine": engine, "gpu": {"count": 1}, "fetch": {"prefetch": True}}
    fetch = render(values).fetch
    command = [*fetch["command"], *fetch["args"]]
    there = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL_NAME": "m", "MODEL_REVISION": ""}
    if engine == "vllm":
        command[0], there["PYTHONPATH"] = sys.executable, str(tmp_path)
    with subprocess.Popen(
        command, env=there, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "asked\n"
            process.terminate()
            assert process.wait(timeout=5) == 143, "by a handler: as process 1 there is no other"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
