"""From what the requests saw to the numbers of one table row; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import median, median_low

from tests.bench.client import Outcome
from tests.bench.cpu import CpuSeconds
from tests.bench.load import Run
from tests.bench.workloads import Headline

# What is better when smaller has its ratio turned round.
SMALLER_IS_BETTER: frozenset[Headline] = frozenset({"wall_seconds", "longest_pause_seconds"})


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, or the medians of several; times in seconds, None where nothing was seen.

    TTFT: submit to first text. ITL: gap between two texts of one stream, whose longest is the
    longest pause. A text may hold several tokens, so tokens are counted by the server's usage.
    Only completed requests count; the wall time is that of all. CPU time of others is what
    neither the server nor the client used: a run beside a busy program is not worth keeping.
    """

    num_requests: int
    num_completed: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    wall_seconds: float
    output_tokens_per_second: float
    ttft_p50_seconds: float | None
    ttft_p99_seconds: float | None
    itl_p50_seconds: float | None
    itl_p99_seconds: float | None
    longest_pause_seconds: float | None
    client_cpu_seconds: float
    server_cpu_seconds: float | None
    others_cpu_seconds: float | None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Interpolated linearly between the closest ranks."""
    if not values:
        return None
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def summarize(run: Run, spent: CpuSeconds | None = None) -> Summary:
    done = [outcome for outcome in run.outcomes if outcome.error is None]
    gaps = [gap for outcome in done for gap in pauses(outcome)]
    ttfts = [outcome.text_at[0] - outcome.submitted_at for outcome in done if outcome.text_at]
    num_output_tokens = sum(outcome.num_output_tokens for outcome in done)
    return Summary(
        num_requests=len(run.outcomes),
        num_completed=len(done),
        num_prompt_tokens=sum(outcome.num_prompt_tokens for outcome in done),
        num_cached_tokens=sum(outcome.num_cached_tokens for outcome in done),
        num_output_tokens=num_output_tokens,
        wall_seconds=run.wall_seconds,
        output_tokens_per_second=num_output_tokens / run.wall_seconds,
        ttft_p50_seconds=percentile(ttfts, 50),
        ttft_p99_seconds=percentile(ttfts, 99),
        itl_p50_seconds=percentile(gaps, 50),
        itl_p99_seconds=percentile(gaps, 99),
        longest_pause_seconds=max(gaps, default=None),
        client_cpu_seconds=run.client_cpu_seconds,
        server_cpu_seconds=spent.session if spent else None,
        others_cpu_seconds=_others(run, spent) if spent else None,
    )


def _others(run: Run, spent: CpuSeconds) -> float:
    return max(0.0, spent.machine - spent.session - run.client_cpu_seconds)


def pauses(outcome: Outcome) -> list[float]:
    return [later - earlier for earlier, later in pairwise(outcome.text_at)]


def medians(summaries: Sequence[Summary]) -> Summary:
    """Field by field; of the completed requests the fewest, so that no failure hides."""
    merged: dict[str, float | int | None] = {}
    for name in (each.name for each in fields(Summary)):
        seen = [value for value in (getattr(s, name) for s in summaries) if value is not None]
        middle = median_low if name.startswith("num_") else median
        merged[name] = middle(seen) if seen else None
    merged["num_completed"] = min(each.num_completed for each in summaries)
    return Summary(**merged)  # type: ignore[arg-type]  # the names are those of the fields


def advantage(ours: Summary, peers: Sequence[Summary], headline: Headline) -> float | None:
    """How many times better than the best complete peer: above 1.0 we are ahead."""
    theirs = [_value(peer, headline) for peer in peers if peer.num_completed == peer.num_requests]
    mine, known = _value(ours, headline), [value for value in theirs if value]
    if not mine or not known or ours.num_completed < ours.num_requests:
        return None
    if headline in SMALLER_IS_BETTER:
        return min(known) / mine
    return mine / max(known)


def _value(summary: Summary, headline: Headline) -> float | None:
    value: float | None = getattr(summary, headline)
    return value
