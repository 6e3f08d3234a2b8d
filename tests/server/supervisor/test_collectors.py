"""What is read at the moment of a scrape: states, versions, processes."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from prometheus_client.registry import Collector

from gguf_server import __version__
from gguf_server.supervisor.collectors import (
    BuildCollector,
    ProcessCollector,
    StateCollector,
    read_usage,
)
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.status import State, Status
from tests.facts import READY

LOADING = replace(READY, state=State.LOADING, ever_ready=False, facts=None)


def value(collector: Collector, name: str, **labels: str) -> float | None:
    return Metrics(collector).registry.get_sample_value(f"gguf_server_{name}", labels)


def of(status: Status) -> StateCollector:
    return StateCollector(lambda: status, "my-model")


@pytest.mark.parametrize("state", State)
def test_one_state_is_told_at_a_time(state: State) -> None:
    told = of(replace(READY, state=state))
    assert [each for each in State if value(told, "engine_state", state=each)] == [state]
    assert value(told, "engine_up") == value(told, "ready") == (state is State.READY)


def test_a_server_that_drains_is_not_ready_though_its_engine_is_up() -> None:
    told = of(replace(READY, draining=True))
    assert (value(told, "ready"), value(told, "draining"), value(told, "engine_up")) == (0, 1, 1)


def test_the_model_is_told_once_it_is_known() -> None:
    labels = {
        "model": "my-model",
        "architecture": "llama",
        "description": "a small model",
        "kv_layout": "unified",
    }
    assert value(of(LOADING), "model_info", **labels) is None
    assert value(of(READY), "model_info", **labels) == 1
    assert (value(of(LOADING), "slots"), value(of(READY), "slots")) == (0, 2)


def test_the_versions_are_told() -> None:
    versions = {"version": __version__, "llama_cpp_python_version": "0.3.36"}
    assert value(BuildCollector(), "build_info", **versions) == 1


def test_memory_and_cpu_time_are_those_the_kernel_counts() -> None:
    usage = read_usage(os.getpid())
    assert usage
    assert usage.cpu_seconds == pytest.approx(sum(os.times()[:2]), abs=1)
    assert 1 << 20 < usage.resident_bytes < 1 << 36


def test_an_engine_that_is_gone_uses_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    while_it_runs = ProcessCollector(lambda: child.pid)
    assert (value(while_it_runs, "process_resident_memory_bytes", process="engine") or 0) > 0
    child.communicate(b"\n")
    for gone in (ProcessCollector(lambda: None), while_it_runs):
        assert value(gone, "process_cpu_seconds_total", process="engine") is None
        assert value(gone, "process_cpu_seconds_total", process="api") is not None
