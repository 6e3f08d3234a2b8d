"""From what the requests saw to the numbers of one table row; pure functions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gguf_server.bench.client import Outcome
from gguf_server.bench.load import Run


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, or the medians of several; times in seconds, None where nothing was seen.

    TTFT: submit to first text. ITL: gap between two texts of one stream, whose longest is the
    longest pause. A text may hold several tokens, so tokens are counted by the server's usage.
    Only completed requests count; the wall time is that of all. A short answer is one that ended
    before the length asked for.
    """

    num_requests: int
    num_completed: int
    num_short: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    wall_seconds: float
    output_tokens_per_second: float
    ttft_p50_seconds: float | None
    ttft_p95_seconds: float | None
    itl_p50_seconds: float | None
    itl_p95_seconds: float | None
    longest_pause_seconds: float | None
    client_cpu_seconds: float


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Interpolated linearly between the closest ranks."""
    if not values:
        return None
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def summarize(run: Run) -> Summary:
    done = [outcome for outcome in run.outcomes if outcome.failure is None]
    gaps = [gap for outcome in done for gap in pauses(outcome)]
    ttfts = [outcome.text_at[0] - outcome.submitted_at for outcome in done if outcome.text_at]
    num_output_tokens = sum(outcome.num_output_tokens for outcome in done)
    return Summary(
        num_requests=len(run.outcomes),
        num_completed=len(done),
        num_short=sum(outcome.num_missing_tokens > 0 for outcome in done),
        num_prompt_tokens=sum(outcome.num_prompt_tokens for outcome in done),
        num_cached_tokens=sum(outcome.num_cached_tokens for outcome in done),
        num_output_tokens=num_output_tokens,
        wall_seconds=run.wall_seconds,
        output_tokens_per_second=num_output_tokens / run.wall_seconds,
        ttft_p50_seconds=percentile(ttfts, 50),
        ttft_p95_seconds=percentile(ttfts, 95),
        itl_p50_seconds=percentile(gaps, 50),
        itl_p95_seconds=percentile(gaps, 95),
        longest_pause_seconds=max(gaps, default=None),
        client_cpu_seconds=run.client_cpu_seconds,
    )


def pauses(outcome: Outcome) -> list[float]:
    return [later - earlier for earlier, later in pairwise(outcome.text_at)]


def failures(run: Run) -> dict[str, int]:
    """How many of each kind, the most frequent first."""
    kinds = Counter(outcome.failure.kind for outcome in run.outcomes if outcome.failure)
    return dict(kinds.most_common())
