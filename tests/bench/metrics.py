"""Reads what our server counted while it was measured: the steps behind the times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "gguf_server_"
# The rest of a step is llama.cpp: decode, and the samplers, which run in C.
PYTHON_PHASES = ("schedule", "fill", "text")


@dataclass(frozen=True, slots=True)
class Steps:
    """Times are milliseconds per step, by phase."""

    num_steps: int
    num_prompt_tokens_computed: int
    num_prefill_tokens_max: int
    num_steps_left_out: int
    phase_ms: dict[str, float]

    @property
    def python_ms(self) -> float:
        return sum(self.phase_ms.get(phase, 0.0) for phase in PYTHON_PHASES)


def samples(exposition: str) -> dict[str, float]:
    """Prometheus text to {'name{labels}': value}."""
    lines = (line for line in exposition.splitlines() if line and not line.startswith("#"))
    pairs = (line.rpartition(" ") for line in lines)
    return {name: float(value) for name, _, value in pairs}


def load_seconds(exposition: str) -> dict[str, float]:
    """Of the last load, by stage."""
    return _by_label(samples(exposition), f'{PREFIX}load_seconds{{stage="')


def steps(exposition: str) -> Steps | None:
    """All so far. None where the server does not count steps."""
    return between({}, samples(exposition))


def between(before: Mapping[str, float], after: Mapping[str, float]) -> Steps | None:
    """Of what is counted between two scrapes; of a largest number only the later is known."""
    seen = {name: value - before.get(name, 0.0) for name, value in after.items()}
    largest = after.get(f"{PREFIX}step_prefill_tokens_max", 0)
    num_steps = int(seen.get(f"{PREFIX}steps_total", 0))
    if not num_steps:
        return None
    return Steps(
        num_steps=num_steps,
        num_prompt_tokens_computed=int(seen.get(f"{PREFIX}prompt_tokens_computed_total", 0)),
        num_prefill_tokens_max=int(largest),
        num_steps_left_out=int(seen.get(f"{PREFIX}steps_left_out_total", 0)),
        phase_ms=_phase_ms(seen, num_steps),
    )


def _phase_ms(seen: Mapping[str, float], num_steps: int) -> dict[str, float]:
    phases = _by_label(seen, f'{PREFIX}step_seconds_total{{phase="')
    return {name: seconds / num_steps * 1e3 for name, seconds in phases.items()}


def _by_label(seen: Mapping[str, float], head: str) -> dict[str, float]:
    return {
        name.removeprefix(head).removesuffix('"}'): value
        for name, value in seen.items()
        if name.startswith(head)
    }
