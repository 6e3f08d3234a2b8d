"""The whole check on this machine's CPU, with a model of some megabytes: every stage for real."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bench.servers import ROOT
from tests.gpu.__main__ import AGAIN
from tests.gpu.cells import STAGES
from tests.gpu.models import SMALL_LOAD, SMALL_MODELS

LIMIT_SECONDS = 550.0  # of a call on a machine that has no time
MODEL = SMALL_MODELS[0]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Check:
    folder: Path

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [
            *(sys.executable, "-m", "tests.gpu", "--device", "cpu", "--shape", "small"),
            *("--models", str(self.folder / "models"), "--out", str(self.folder / "out")),
            *("--day", "2026-01-02", "--seconds", "500", *options),
        ]
        path = f"{ROOT}/server:{ROOT}/deploy:{ROOT}"
        return subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )

    def cells(self) -> dict[str, Any]:
        [path] = (self.folder / "out").glob("*.json")
        found: dict[str, Any] = json.loads(path.read_text())["cells"]
        return found


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    check = Check(tmp_path_factory.mktemp("rehearsal"))
    done = check.run()
    assert done.returncode == 0, done.stderr
    return check


def test_every_stage_is_measured(check: Check):
    cells = check.cells()
    assert {key.partition("/")[0] for key in cells} == set(STAGES)
    assert len([key for key in cells if key.startswith("experts/")]) == len(MODEL.experts_on_cpu)
    assert not [key for key, cell in cells.items() if "failed" in cell]


def test_what_llama_cpp_takes_is_what_was_planned(check: Check):
    cells = check.cells()
    planned = {
        part["name"]: part["num_bytes"] for part in cells[f"plan/{MODEL.name}"]["host"]["parts"]
    }
    uses = cells[f"parts/{MODEL.name}"]["uses"]
    for name, key in (("weights", "weights_bytes"), ("KV cache", "cache_bytes")):
        assert sum(use[key] for use in uses) == planned[name] > 0
    assert sum(use["compute_bytes"] for use in uses) == planned["compute"] > 0


def test_all_numbers_of_streams_are_measured_with_and_without_samplers(check: Check):
    runs = check.cells()[f"speed/{MODEL.name}"]["runs"]
    asked = [(count, name) for count in SMALL_LOAD.streams for name in ("greedy", "usual")]
    assert [(run["streams"], run["sampling"]) for run in runs] == asked
    for run in runs:
        wanted = run["streams"] * SMALL_LOAD.num_output_tokens
        assert run["summary"]["num_output_tokens"] == wanted
        assert run["steps"]["phase_ms"]["sample"] > 0


def test_the_probes_were_heard_and_took_nothing_back(check: Check):
    for key in (f"start/{MODEL.name}", f"speed/{MODEL.name}"):
        cell = check.cells()[key]
        for watch in [cell[kind]["watch"] for kind in ("cold", "warm") if kind in cell] or [
            cell["watch"]
        ]:
            assert all(each["answers"] for each in watch["probes"].values())
            # How long an answer takes is this machine's business.
            assert [each for each in watch["violations"] if " took " not in each] == []


def test_a_second_call_measures_nothing_again(check: Check):
    before = check.cells()
    assert check.run().returncode == 0
    assert check.cells() == before


def test_a_call_without_time_says_what_is_left(check: Check):
    done = check.run("--seconds", "0", "--stage", "plan", "--again")
    assert done.returncode == AGAIN
    assert done.stderr.splitlines()[-1] == (
        f"gpu-check: time is up; call again for plan/{MODEL.name}"
    )


def test_a_stage_that_fails_is_told_and_the_others_are_measured(tmp_path: Path):
    check = Check(tmp_path)
    done = check.run("--vocabulary", str(tmp_path / "none.gguf"), "--stage", "models")
    assert done.returncode == 1
    assert "No such file" in check.cells()[f"models/{MODEL.name}"]["failed"]
    [page] = (tmp_path / "out").glob("*.md")
    assert "## Failed" in page.read_text()
