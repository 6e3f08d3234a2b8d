"""The page for people and the record for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gguf_server.bench.report import number
from gguf_server.bench.workloads import Headline, Workload
from tests.bench import markdown
from tests.bench.comparison import MachineSummary, advantage, medians
from tests.bench.machine import Machine
from tests.bench.metrics import PYTHON_PHASES, Steps
from tests.bench.servers import Server
from tests.bench.targets import targets

MEASURES: dict[Headline, str] = {
    "output_tokens_per_second": "out/s",
    "wall_seconds": "wall time",
    "longest_pause_seconds": "longest pause",
}
COLUMNS = (
    *("server", "wall s", "out/s", "TTFT p50 s", "p95 s", "ITL p50 ms", "p95 ms", "max s"),
    *("cached", "done", "CPU ms/out", "MiB", "others"),
)
LEGEND = """\
out/s: tokens, or embeddings, a second. TTFT: submit to the first text; ITL: gap between two texts
of one stream. CPU: of the server. MiB: peaks of all its processes, the mapped model included.
others: cores kept busy by programs that are neither server nor client, and spoil the numbers."""
STEP_COLUMNS = ("workload", "steps", "computed", "max prefill", "left out", "python ms")
STEP_PHASES = (*PYTHON_PHASES, "sample", "decode")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one workload on one server."""

    workload: Workload
    server: Server
    summary: MachineSummary
    steps: Steps | None
    errors: tuple[str, ...]


def header(machine: Machine, model: str, num_threads: int, repeat: int) -> str:
    runs = "one run" if repeat == 1 else f"medians of {repeat} runs, servers taking turns"
    versions = ", ".join(f"{name} {text}" for name, text in machine.versions.items())
    return (
        f"`{machine.command}`, {machine.date}: {model} on {machine.cpu}, "
        f"{machine.num_cores} cores, {num_threads} threads; {runs}.\n{versions}.\n\n{LEGEND}"
    )


def table(runs: Sequence[Measured]) -> str:
    return "\n\n".join(_block(workload, runs) for workload in _workloads(runs))


def steps_table(runs: Sequence[Measured]) -> str:
    """What our own steps were made of; empty where the server counts none."""
    rows = [_step_cells(run) for workload in _workloads(runs) if (run := _last(workload, runs))]
    if not rows:
        return ""
    title = (
        f"## Our steps\n\nLast run, milliseconds per step; python = {' + '.join(PYTHON_PHASES)}."
    )
    return f"{title}\n\n{markdown.table((*STEP_COLUMNS, *STEP_PHASES), rows)}"


def targets_table(runs: Sequence[Measured]) -> str:
    """Empty without a peer."""
    by_name = {workload.name: workload for workload in _workloads(runs)}
    rows = []
    for target in targets(by_name):
        ratio = _advantage(by_name[target.workload], runs, target.measure)
        if ratio is not None:
            verdict = "met" if ratio >= target.at_least else "missed"
            what = MEASURES[target.measure]
            rows.append((target.workload, what, f"{ratio:.2f}", f"{target.at_least:g}", verdict))
    if not rows:
        return ""
    heads = ("workload", "measure", "times the best peer", "target", "")
    return f"## Beside the best peer\n\n{markdown.table(heads, rows)}"


def record(runs: Sequence[Measured], machine: Machine, settings: dict[str, Any]) -> dict[str, Any]:
    workloads = [
        {
            "name": workload.name,
            "title": workload.title,
            "headline": workload.headline,
            "advantage": _advantage(workload, runs, workload.headline),
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
    rows = [
        _cells(name, medians([run.summary for run in group]))
        for name, group in _groups(workload, runs)
    ]
    errors = {
        f"- {run.server.name}: {error}"
        for run in runs
        for error in run.errors[:1]
        if run.workload is workload
    }
    head = f"### {workload.name}\n\n{workload.title}"
    return "\n\n".join([head, markdown.table(COLUMNS, rows), *sorted(errors)])


def _advantage(workload: Workload, runs: Sequence[Measured], measure: Headline) -> float | None:
    groups = [(group[0].server.is_ours, group) for _, group in _groups(workload, runs)]
    merged = [(is_ours, medians([run.summary for run in group])) for is_ours, group in groups]
    mine = [summary for is_ours, summary in merged if is_ours]
    theirs = [summary for is_ours, summary in merged if not is_ours]
    return advantage(mine[0], theirs, measure) if mine else None


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
        number(_of(summary.server_cpu_seconds, summary.num_output_tokens), scale=1e3, digits=1),
        number(summary.peak_bytes, scale=1 / MIB, digits=0),
        number(_of(summary.others_cpu_seconds, summary.wall_seconds)),
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


def _of(value: float | None, whole: float) -> float | None:
    return value / whole if value is not None and whole else None
