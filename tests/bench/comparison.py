"""Servers beside one another: what each run cost, medians of several, the ratio to the peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median, median_low

from gguf_server.bench.load import Run
from gguf_server.bench.stats import Summary, summarize
from gguf_server.bench.workloads import Headline
from tests.bench.cpu import CpuSeconds

# What is better when smaller has its ratio turned round.
SMALLER_IS_BETTER: frozenset[Headline] = frozenset({"wall_seconds", "longest_pause_seconds"})


@dataclass(frozen=True, slots=True)
class MachineSummary(Summary):
    """CPU time of others is what neither the server nor the client used: a run beside a busy
    program is not worth keeping."""

    server_cpu_seconds: float | None
    others_cpu_seconds: float | None
    peak_bytes: float | None

    @property
    def is_complete(self) -> bool:
        """Every request answered, at the length asked for: only then is there a comparison."""
        return self.num_completed == self.num_requests and not self.num_short


def summarize_beside(
    run: Run, spent: CpuSeconds | None = None, peak_bytes: int | None = None
) -> MachineSummary:
    return MachineSummary(
        **asdict(summarize(run)),
        server_cpu_seconds=spent.server if spent else None,
        others_cpu_seconds=_others(run, spent) if spent else None,
        peak_bytes=peak_bytes,
    )


def _others(run: Run, spent: CpuSeconds) -> float:
    return max(0.0, spent.machine - spent.server - run.client_cpu_seconds)


def medians(summaries: Sequence[MachineSummary]) -> MachineSummary:
    """Field by field; of the completed requests the fewest, so that no failure hides."""
    merged: dict[str, float | int | None] = {}
    for name in (each.name for each in fields(MachineSummary)):
        seen = [value for value in (getattr(s, name) for s in summaries) if value is not None]
        middle = median_low if name.startswith("num_") else median
        merged[name] = middle(seen) if seen else None
    merged["num_completed"] = min(each.num_completed for each in summaries)
    merged["num_short"] = max(each.num_short for each in summaries)
    return MachineSummary(**merged)  # type: ignore[arg-type]  # the names are those of the fields


def advantage(
    ours: MachineSummary, peers: Sequence[MachineSummary], headline: Headline
) -> float | None:
    """How many times better than the best complete peer: above 1.0 we are ahead."""
    theirs = [_value(peer, headline) for peer in peers if peer.is_complete]
    mine, known = _value(ours, headline), [value for value in theirs if value]
    if not mine or not known or not ours.is_complete:
        return None
    if headline in SMALLER_IS_BETTER:
        return min(known) / mine
    return mine / max(known)


def _value(summary: Summary, headline: Headline) -> float | None:
    value: float | None = getattr(summary, headline)
    return value
