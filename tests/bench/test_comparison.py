import pytest

from gguf_server.bench.client import Failure, Outcome
from gguf_server.bench.load import Run
from tests.bench.comparison import MachineSummary, advantage, medians, summarize_beside
from tests.bench.cpu import CpuSeconds


def outcome(*text_at: float, error: str | None = None) -> Outcome:
    return Outcome(
        submitted_at=1.0,
        finished_at=text_at[-1] if text_at else 1.0,
        text_at=text_at,
        num_output_tokens=2 * len(text_at),
        failure=Failure("failed", error) if error else None,
    )


def summary(**changes: float) -> MachineSummary:
    run = Run((outcome(1.5, 1.6, 2.6),), wall_seconds=2.0, client_cpu_seconds=0.1)
    made = summarize_beside(run)
    values = {name: getattr(made, name) for name in MachineSummary.__dataclass_fields__}
    return MachineSummary(**(values | changes))


def test_medians_are_taken_field_by_field() -> None:
    merged = medians([summary(wall_seconds=wall) for wall in (5.0, 1.0, 3.0)])
    assert merged == summary(wall_seconds=3.0)
    assert isinstance(merged.num_output_tokens, int)


def test_the_median_of_unknown_times_is_unknown() -> None:
    failed = summarize_beside(Run((outcome(error="refused"),), 1.0, 0.1))
    assert medians([failed, failed]).ttft_p50_seconds is None


def test_medians_tell_of_a_single_failed_or_short_answer() -> None:
    merged = medians([summary(num_completed=1), summary(num_completed=0), summary(num_short=1)])
    assert (merged.num_completed, merged.num_short) == (0, 1)


def test_an_advantage_is_against_the_better_peer_whichever_way_better_goes() -> None:
    peers = [summary(output_tokens_per_second=100.0, wall_seconds=30.0)]
    peers += [summary(output_tokens_per_second=50.0, wall_seconds=40.0)]
    ours = summary(output_tokens_per_second=90.0, wall_seconds=10.0)
    assert advantage(ours, peers, "output_tokens_per_second") == pytest.approx(0.9)
    assert advantage(ours, peers, "wall_seconds") == pytest.approx(3.0)


@pytest.mark.parametrize("incomplete", [{"num_completed": 0}, {"num_short": 1}])
def test_nobody_is_ahead_with_answers_missing_or_short(incomplete: dict[str, float]) -> None:
    half = summary(**incomplete)
    assert advantage(half, [summary()], "wall_seconds") is None
    assert advantage(summary(), [half], "wall_seconds") is None
    assert advantage(summary(), [], "wall_seconds") is None


def test_cpu_time_that_is_neither_the_servers_nor_the_clients_is_the_others() -> None:
    run = Run((outcome(1.5, 1.6),), wall_seconds=2.0, client_cpu_seconds=0.25)
    seen = summarize_beside(run, CpuSeconds(machine=4.0, server=3.0))
    assert (seen.server_cpu_seconds, seen.others_cpu_seconds) == (3.0, 0.75)
    assert summarize_beside(run).others_cpu_seconds is None
