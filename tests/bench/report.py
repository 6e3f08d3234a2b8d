"""Prints the table and builds the JSON record; judges nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gguf_server.bench.report import aligned, number
from gguf_server.bench.workloads import Workload
from tests.bench.comparison import MachineSummary, advantage, medians
from tests.bench.machine import Machine
from tests.bench.metrics import PYTHON_PHASES, Steps
from tests.bench.peers import Server

HEADLINES = {
    "output_tokens_per_second": "output tokens/s",
    "wall_seconds": "wall time",
    "longest_pause_seconds": "longest pause",
}
COLUMNS = (
    *("server", "wall", "tok/s", "TTFT p50", "p95", "ITL p50", "p95", "pause"),
    *("cached", "done", "cores", "others"),
)
STEP_COLUMNS = ("workload", "steps", "computed", "max prefill", "left out", "python ms")
STEP_PHASES = (*PYTHON_PHASES, "sample", "decode")


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one workload on one server."""

    workload: Workload
    server: Server
    summary: MachineSummary
    steps: Steps | None
    errors: tuple[str, ...]


def header(machine: Machine, model: str, num_threads: int, repeat: int) -> str:
    runs = "one run" if repeat == 1 else f"medians of {repeat} runs"
    versions = ", ".join(f"{name} {text}" for name, text in machine.versions.items())
    return (
        f"{model} on {machine.cpu}, {machine.num_cores} cores, {num_threads} threads; {runs}\n"
        f"{versions}\n"
        "seconds, ITL in milliseconds; ITL and pause are gaps between two texts of one stream;\n"
        "cores and others: cores kept busy by the server, and by programs that spoil the numbers"
    )


def table(runs: Sequence[Measured]) -> str:
    return "\n\n".join(_block(workload, runs) for workload in _workloads(runs))


def steps_table(runs: Sequence[Measured]) -> str:
    """What our own steps were made of; empty where the server counts none."""
    rows = [_step_cells(run) for workload in _workloads(runs) if (run := _last(workload, runs))]
    if not rows:
        return ""
    names = (*STEP_COLUMNS, *STEP_PHASES)
    title = "our steps (last run): milliseconds per step; python = " + " + ".join(PYTHON_PHASES)
    return "\n".join([title, *aligned([names, *rows])])


def record(runs: Sequence[Measured], machine: Machine, settings: dict[str, Any]) -> dict[str, Any]:
    workloads = [
        {
            "name": workload.name,
            "title": workload.title,
            "headline": workload.headline,
            "advantage": _advantage(workload, runs),
            "servers": {name: _server_record(group) for name, group in _groups(workload, runs)},
        }
        for workload in _workloads(runs)
    ]
    return {"machine": asdict(machine), "settings": settings, "workloads": workloads}


def _server_record(group: Sequence[Measured]) -> dict[str, Any]:
    single = [
        asdict(run.summary)
        | {"steps": asdict(run.steps) | {"python_ms": run.steps.python_ms} if run.steps else None}
        | {"errors": run.errors}
        for run in group
    ]
    return {"median": asdict(medians([run.summary for run in group])), "runs": single}


def _block(workload: Workload, runs: Sequence[Measured]) -> str:
    groups = list(_groups(workload, runs))
    rows = [_cells(name, medians([run.summary for run in group])) for name, group in groups]
    lines = [f"{workload.title}  [{workload.name}]", *aligned([COLUMNS, *rows])]
    ratio = _advantage(workload, runs)
    if ratio is not None:
        lines.append(f"  {HEADLINES[workload.headline]}: {ratio:.2f} times the better peer's")
    errors = {
        f"{run.server.name}: {error}"
        for run in runs
        for error in run.errors[:1]
        if run.workload is workload
    }
    return "\n".join([*lines, *(f"  ! {error}" for error in sorted(errors))])


def _advantage(workload: Workload, runs: Sequence[Measured]) -> float | None:
    groups = [(group[0].server.is_ours, group) for _, group in _groups(workload, runs)]
    merged = [(is_ours, medians([run.summary for run in group])) for is_ours, group in groups]
    mine = [summary for is_ours, summary in merged if is_ours]
    theirs = [summary for is_ours, summary in merged if not is_ours]
    return advantage(mine[0], theirs, workload.headline) if mine else None


def _workloads(runs: Iterable[Measured]) -> list[Workload]:
    return list({run.workload.name: run.workload for run in runs}.values())


def _groups(workload: Workload, runs: Iterable[Measured]) -> Iterable[tuple[str, list[Measured]]]:
    groups: dict[str, list[Measured]] = {}
    for run in runs:
        if run.workload is workload:
            groups.setdefault(run.server.name, []).append(run)
    return groups.items()


def _last(workload: Workload, runs: Sequence[Measured]) -> Measured | None:
    counted = [run for run in runs if run.workload is workload and run.steps]
    return counted[-1] if counted else None


def _cells(name: str, summary: MachineSummary) -> tuple[str, ...]:
    return (
        name,
        f"{summary.wall_seconds:.2f}",
        f"{summary.output_tokens_per_second:.1f}",
        number(summary.ttft_p50_seconds),
        number(summary.ttft_p95_seconds),
        number(summary.itl_p50_seconds, scale=1e3, digits=1),
        number(summary.itl_p95_seconds, scale=1e3, digits=1),
        number(summary.longest_pause_seconds),
        f"{summary.num_cached_tokens}/{summary.num_prompt_tokens}",
        f"{summary.num_completed} of {summary.num_requests}",
        number(_cores(summary.server_cpu_seconds, summary)),
        number(_cores(summary.others_cpu_seconds, summary)),
    )


def _step_cells(run: Measured) -> tuple[str, ...]:
    steps = run.steps
    if steps is None:
        return ()
    return (
        run.workload.name,
        str(steps.num_steps),
        str(steps.num_prompt_tokens_computed),
        str(steps.num_prefill_tokens_max),
        str(steps.num_steps_left_out),
        f"{steps.python_ms:.3f}",
        *(f"{steps.phase_ms.get(phase, 0.0):.3f}" for phase in STEP_PHASES),
    )


def _cores(cpu_seconds: float | None, summary: MachineSummary) -> float | None:
    return None if cpu_seconds is None else cpu_seconds / summary.wall_seconds
