import json
from dataclasses import replace
from pathlib import Path

from gguf_server.bench.load import Run
from gguf_server.bench.workloads import WORKLOADS
from tests.bench.comparison import summarize_beside
from tests.bench.machine import Machine
from tests.bench.metrics import Steps
from tests.bench.report import Measured, record, steps_table, table, targets_table
from tests.bench.servers import Deployment, Server
from tests.bench.test_comparison import outcome

OURS = Server("gguf-server", "gguf-server", "gguf-server")
PEER = Server("llama-server split", "llama-server", "llama-server")
STEPS = Steps(10, 94, 64, 0, {"schedule": 0.1, "fill": 0.2, "decode": 9.0})
MACHINE = Machine("2026-01-01", "a CPU", 2, "6", "3.11", "python -m tests.bench", {})


def measured(server: Server, wall_seconds: float, error: str | None = None) -> Measured:
    run = Run((outcome(1.5, 1.6, error=error),), wall_seconds, 0.1)
    steps = STEPS if server.is_ours else None
    return Measured(WORKLOADS[3], server, summarize_beside(run), steps, (error,) if error else ())


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_table_has_a_row_for_each_server_and_the_ratio_of_the_headline() -> None:
    runs = [measured(OURS, 2.0), measured(PEER, 8.0), measured(OURS, 4.0)]
    lines = table(runs).splitlines()
    assert lines[:3] == ["### shared", "", WORKLOADS[3].title]
    assert lines[6].split()[:4] == ["|", "gguf-server", "|", "3.00"]
    assert lines[7].split()[:5] == ["|", "llama-server", "split", "|", "8.00"]


def test_targets_are_met_or_missed_by_the_ratio_to_the_best_peer() -> None:
    runs = [measured(OURS, 2.0), measured(PEER, 8.0), measured(PEER, 6.4)]
    out, wall = (cells(line) for line in targets_table(runs).splitlines()[-2:])
    assert out == ["shared", "out/s", "3.56", "0.97", "met"]
    assert wall == ["shared", "wall time", "3.60", "3.5", "met"]
    slower = [measured(OURS, 2.0), measured(PEER, 6.0)]
    assert cells(targets_table(slower).splitlines()[-1])[-2:] == ["3.5", "missed"]


def test_without_peers_nothing_is_met_or_missed() -> None:
    assert targets_table([measured(OURS, 2.0)]) == ""


def test_what_a_run_cost_is_by_what_came_out_of_it() -> None:
    run = measured(OURS, 2.0)
    summary = replace(run.summary, server_cpu_seconds=1.0, peak_bytes=300 << 20)
    row = cells(table([replace(run, summary=summary)]).splitlines()[-1])
    assert row[-3:] == ["250.0", "300", "-"]


def test_a_failure_shows_in_the_table_with_its_reason() -> None:
    text = table([measured(OURS, 2.0, error="HTTP 500: oops"), measured(PEER, 8.0)])
    assert "0 of 1" in text
    assert "- gguf-server: HTTP 500: oops" in text


def test_steps_are_shown_for_ours_only() -> None:
    assert steps_table([measured(PEER, 8.0)]) == ""
    assert cells(steps_table([measured(OURS, 2.0)]).splitlines()[-1])[:3] == ["shared", "10", "94"]


def test_a_record_is_json_with_every_single_run_in_it() -> None:
    runs = [measured(OURS, 2.0), measured(OURS, 4.0), measured(PEER, 8.0)]
    written = json.loads(json.dumps(record(runs, MACHINE, {"repeat": 2}), allow_nan=False))
    (workload,) = written["workloads"]
    assert len(workload["servers"]["gguf-server"]["runs"]) == 2
    assert workload["servers"]["gguf-server"]["median"]["wall_seconds"] == 3.0
    assert round(workload["advantage"], 2) == 2.67


def test_every_server_gets_the_same_slots_context_and_threads() -> None:
    deployment = Deployment(Path("model.gguf"), num_slots=8)
    assert "--slots 8 --context 2048 --threads 2" in " ".join(OURS.command(deployment, 80))
    llama = " ".join(PEER.command(deployment, 80))
    assert "--parallel 8 --ctx-size 16384 --threads 2" in llama
