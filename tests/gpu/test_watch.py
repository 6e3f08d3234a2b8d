import asyncio
from itertools import count

import pytest

from gguf_server.endpoint import Endpoint
from tests.gpu.watch import PROBES, Seen, Watch, violations, watching


def answers(path: str, *statuses: int, seconds: float = 0.001) -> list[Seen]:
    return [Seen(path, at / 10, seconds, status) for at, status in enumerate(statuses)]


def progress(*percents: int, stage: str = "weights") -> list[Seen]:
    bodies = [{"stage": stage, "percent": percent} for percent in percents]
    return [Seen("/startupz", 0.1, 0.001, 503, body) for body in bodies]


def test_a_load_as_it_should_be_is_no_violation():
    seen = answers("/livez", 0, 0, 200, 200)
    for path in PROBES[1:]:
        seen += answers(path, 0, 503, 503)
    seen += progress(0, 50, 100)
    for path in PROBES[1:]:
        seen += answers(path, 200, 200)
    assert violations(seen) == []


def test_a_live_server_always_says_so():
    assert violations(answers("/livez", 200, 503, 200)) == ["/livez answered 503 after 0.1 s"]


def test_silence_is_allowed_before_the_first_answer_only():
    assert violations(answers("/readyz", 0, 503, 0, 200)) == [
        "/readyz answered nothing after 0.2 s"
    ]


def test_ready_is_not_taken_back():
    assert violations(answers("/readyz", 503, 200, 503)) == ["/readyz went back to 503 after 0.2 s"]


def test_a_probe_that_kubernetes_would_give_up_on_is_told():
    assert violations(answers("/health", 503, seconds=1.5)) == ["/health took 1.5 s"]


def test_progress_goes_forward_within_a_stage():
    assert violations(progress(90, 40)) == ["/startupz went from 90 to 40 % of weights"]
    assert violations(progress(90) + progress(0, stage="context")) == []


def test_a_summary_tells_when_a_probe_was_first_well_and_the_most_memory():
    watch = Watch(answers("/readyz", 0, 503, 200), [5, 9, 7])
    summary = watch.summary()
    assert summary["probes"]["/readyz"]["first_ok_seconds"] == pytest.approx(0.2)
    assert summary["probes"]["/readyz"]["answers"] == 2
    assert summary["peak_bytes"] == 9
    assert watch.ready_after() == pytest.approx(0.2)


def test_a_watch_ends_with_its_context_and_raises_what_a_reader_raised():
    def fail() -> int:
        raise OSError("the driver is gone")

    async def watch_for_a_while() -> Watch:
        reads = count()
        async with watching(Endpoint("127.0.0.1", 1), lambda: next(reads), 0.001) as watch:
            while len(watch.seen) < len(PROBES) or not watch.peak_bytes:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert len(asyncio.all_tasks()) == 1
        return watch

    async def fail_to_read() -> None:
        async with watching(Endpoint("127.0.0.1", 1), fail, 0.001):
            while len(asyncio.all_tasks()) > 1 + len(PROBES):  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    assert {each.status for each in asyncio.run(watch_for_a_while()).seen} == {0}
    with pytest.raises(OSError, match="the driver is gone"):
        asyncio.run(fail_to_read())
