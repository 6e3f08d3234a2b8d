import pytest

from gguf_server.models.meter import Meter
from gguf_server.models.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports() -> list[Progress]:
    return []


@pytest.fixture
def meter(reports, clock) -> Meter:
    return Meter(reports.append, clock)


def test_a_stage_is_reported_when_it_begins(meter, reports):
    meter.begin("download", "m.gguf", total_bytes=100)
    assert reports[-1] == Progress("download", "m.gguf", 0, 100, 0.0)


def test_a_million_small_pieces_cost_ten_reports_a_second(meter, reports, clock):
    meter.begin("download", total_bytes=100_000)
    for num_bytes in range(100_000):
        clock.now += 0.0001
        meter.reach(num_bytes)
    assert 90 <= len(reports) <= 110
    assert reports[-1].num_bytes >= 99_000


def test_the_rate_is_of_the_last_seconds(meter, reports, clock):
    meter.begin("download", total_bytes=10_000)
    for second in range(1, 11):
        clock.now += 1
        meter.reach(second * 100)
    assert reports[-1].bytes_per_second == pytest.approx(100)
    for second in range(1, 11):
        clock.now += 1
        meter.reach(1000 + second * 10)
    assert reports[-1].bytes_per_second == pytest.approx(10)


def test_after_a_stall_the_rate_counts_the_stall(meter, reports, clock):
    meter.begin("download", total_bytes=10_000)
    clock.now += 1
    meter.reach(1000)
    clock.now += 99
    meter.reach(2000)
    assert reports[-1].bytes_per_second == pytest.approx(1000 / 99)


def test_bytes_that_were_there_before_are_counted_but_have_no_rate(meter, reports, clock):
    meter.begin("download", total_bytes=2000)
    meter.skip(1000)
    clock.now += 1
    meter.reach(1010)
    assert reports[-1].num_bytes == 1010
    assert reports[-1].bytes_per_second == pytest.approx(10)


def test_a_new_start_counts_what_is_there_and_takes_no_rate_back(meter, reports, clock):
    meter.begin("download", total_bytes=2000)
    clock.now += 1
    meter.reach(1000)
    clock.now += 1
    meter.reach(0)
    assert reports[-1].num_bytes == 0
    assert reports[-1].bytes_per_second == pytest.approx(500)
