"""The Job that makes room in a volume: never at the cost of what is served."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.charts.rendering import COMMIT, Json, Refused, environment, render

CLEAN: Json = {"volume": {"clean": ["--older-than", "7d"]}}
STUB = '#!/bin/sh\necho "$@" >> "$CALLS"\n[ "$1" != "$FAILS" ]\n'


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert render().all("Job") == []


def test_it_has_the_volume_that_the_server_only_reads() -> None:
    found = render(CLEAN)
    job = found.one("Job")["spec"]["template"]
    (container,) = job["spec"]["containers"]
    assert {"name": "models", "mountPath": "/models"} in container["volumeMounts"]
    assert job["spec"]["volumes"][0] == found.pod["volumes"][0]
    assert job["spec"]["affinity"] == found.pod["affinity"], "where the volume is"
    variables = environment(container)
    assert variables["MODEL_NAME"] == f"org/repo@{COMMIT}"
    service = found.one("Service")["spec"]["selector"]
    assert not service.items() <= job["metadata"]["labels"].items(), "it serves nobody"


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ("", ["fetch --offline", "clean --yes --older-than 7d"]),
        ("fetch", ["fetch --offline"]),
    ],
)
def test_what_is_served_counts_as_used_first(fails: str, calls: list[str], tmp_path: Path) -> None:
    """A model that is not there may have been mistyped: then nothing goes."""
    (container,) = render(CLEAN).one("Job")["spec"]["template"]["spec"]["containers"]
    (tmp_path / "gguf-server").write_text(STUB)
    (tmp_path / "gguf-server").chmod(0o755)
    there = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    command = [*container["command"], *container["args"]]
    done = subprocess.run(command, env=there | {"FAILS": fails}, check=False)
    assert (tmp_path / "calls").read_text().splitlines() == calls
    assert (done.returncode == 0) is (fails == "")


@pytest.mark.parametrize(
    "values",
    [
        {"volume": {"type": "ephemeral", **CLEAN["volume"]}},
        {"engine": "vllm", "gpu": {"count": 1}, **CLEAN},
    ],
)
def test_where_nothing_stays_it_is_refused(values: Json) -> None:
    with pytest.raises(Refused, match=r"leave volume\.clean empty"):
        render(values)


def test_a_job_that_fetches_is_another_one_when_its_labels_change_and_outlasts_a_hub() -> None:
    def job(**values: Json) -> Json:
        return render({"fetch": {"prefetch": True}, **values}).one("Job")

    names = {
        job(**values)["metadata"]["name"]
        for values in ({}, {"podLabels": {"a": "b"}}, {"commonLabels": {"a": "c"}})
    }
    assert len(names) == 3, "Kubernetes refuses a change to a Job's template"
    assert job()["spec"]["backoffLimit"] > 100
