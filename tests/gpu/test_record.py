import asyncio
from pathlib import Path

import pytest

from tests.gpu.__main__ import measure
from tests.gpu.card import Card
from tests.gpu.cells import Cell
from tests.gpu.child import ChildFailed
from tests.gpu.record import Record

CARD = Card("gpu", "NVIDIA H200", "580", "13.0", 1 << 37, "H200")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record.open(tmp_path, CARD, "2026-01-02")


def cell(name: str, answer: dict[str, int] | Exception, seconds: float = 1.0) -> Cell:
    async def answer_it() -> dict[str, int]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Cell("start", name, seconds, answer_it)


def test_a_record_goes_on_where_the_last_call_ended(record: Record):
    asyncio.run(measure(record, [cell("a", {"x": 1})], 100.0))
    again = Record.open(record.path.parent, CARD, "2026-01-02")
    assert again.path.name == "nvidia-h200-2026-01-02.json"
    assert again.cells["start/a"]["x"] == 1
    assert (again.has("start/a"), again.has("start/b")) == (True, False)


def test_a_new_day_is_a_new_record(record: Record):
    asyncio.run(measure(record, [cell("a", {})], 100.0))
    assert Record.open(record.path.parent, CARD, "2026-01-03").cells == {}


def test_what_there_is_no_time_for_is_left_and_the_shorter_ones_are_measured(record: Record):
    wanted = [cell("long", {}, seconds=200.0), cell("short", {})]
    assert asyncio.run(measure(record, wanted, 100.0)) == ["start/long"]
    assert list(record.cells) == ["start/short"]


def test_a_failure_is_told_and_does_not_count_as_measured(record: Record):
    asyncio.run(measure(record, [cell("a", ChildFailed("refused")), cell("b", {})], 100.0))
    assert record.cells["start/a"]["failed"] == "refused"
    assert (record.has("start/a"), record.has("start/b")) == (False, True)


def test_a_failure_does_not_take_back_what_was_measured_before(record: Record):
    asyncio.run(measure(record, [cell("a", {"x": 1})], 100.0))
    asyncio.run(measure(record, [cell("a", ChildFailed("refused"))], 100.0))
    assert record.cells["start/a"]["x"] == 1


def test_what_takes_longer_than_the_call_has_is_ended(record: Record):
    async def never() -> dict[str, int]:
        await asyncio.Event().wait()
        return {}

    asyncio.run(measure(record, [Cell("start", "a", 0.0, never)], 0.01))
    assert record.cells["start/a"]["failed"].startswith("no end within")
