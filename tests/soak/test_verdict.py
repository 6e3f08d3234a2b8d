"""What counts as left behind."""

from dataclasses import replace
from itertools import islice

import pytest

from tests.soak.acts import Act, acts
from tests.soak.law import Ending
from tests.soak.subject import Holding, Quiet
from tests.soak.traffic import problem_of
from tests.soak.verdict import Fill, growth, leaks, miscounted

HOLDING = Holding(7, descriptors=20, tasks=5, threads=4, children=2, memory_bytes=100)
QUIET = Quiet(HOLDING, HOLDING, connections=0, running=0, waiting=0)
FILL = Fill(slots=8, cells_asked=512, cells_used=512, preempted=0, finished=8)
ACT = Act("stream", "/v1/completions", b"")


def test_the_same_seed_asks_for_the_same_and_each_client_for_something_else() -> None:
    first, again, other = (list(islice(acts(seed), 200)) for seed in ("1/0", "1/0", "1/1"))
    assert first == again != other
    assert {act.name for act in first} == {act.name for act in other}


@pytest.mark.parametrize("quiets", [[QUIET], [QUIET] * 9])
def test_what_stays_the_same_is_no_leak(quiets: list[Quiet]) -> None:
    assert leaks(quiets, quiets) == []


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (replace(QUIET, connections=1), "1 connections"),
        (replace(QUIET, running=1), "1 running"),
        (replace(QUIET, waiting=1), "1 waiting"),
        (replace(QUIET, api=replace(HOLDING, descriptors=21)), "API process: 20 file descriptors"),
        (replace(QUIET, api=replace(HOLDING, tasks=6)), "API process: 5 tasks, at the end 6"),
        (replace(QUIET, api=replace(HOLDING, children=3)), "API process: 2 child processes"),
        (replace(QUIET, engine=replace(HOLDING, descriptors=21)), "engine: 20 file descriptors"),
        (replace(QUIET, engine=replace(HOLDING, pid=8)), "an engine was lost"),
    ],
)
def test_what_is_left_is_named(last: Quiet, words: str) -> None:
    quiets = [QUIET, QUIET, last]
    (found,) = leaks(quiets, quiets)
    assert words in found


def test_an_engine_that_was_taken_away_may_be_another() -> None:
    assert leaks([QUIET, replace(QUIET, engine=replace(HOLDING, pid=8))], [QUIET]) == []


@pytest.mark.parametrize(
    ("sizes", "grown"),
    [
        ([100, 106], 0),
        ([100, 100, 110, 104, 105, 106], 0.05),
        ([100, 101, 102, 103, 104, 105, 106, 107, 108], 0.04),
        ([100, 140, 100, 100, 100, 100, 100, 101, 140], -0.28),
    ],
)
def test_memory_grows_if_all_of_the_end_is_above_all_of_the_beginning(
    sizes: list[int], grown: float
) -> None:
    assert growth(sizes) == pytest.approx(grown, abs=0.01)


def test_memory_that_grew_by_more_than_a_twentieth_is_a_leak() -> None:
    def grown(last: int) -> list[str]:
        sizes = (100, 100, last)
        quiets = [replace(QUIET, api=replace(HOLDING, memory_bytes=size)) for size in sizes]
        return leaks(quiets, [])

    assert grown(104) == []
    assert grown(106) == ["the API process: its memory grew by 6.0%"]


@pytest.mark.parametrize("change", [{"cells_used": 511}, {"preempted": 1}, {"finished": 7}])
def test_a_slot_or_cell_that_cannot_be_had_is_missed(change: dict[str, int]) -> None:
    assert FILL.problems() == []
    assert len(replace(FILL, **change).problems()) == 1


@pytest.mark.parametrize(("counted", "num_problems"), [(9, 1), (10, 0), (13, 0), (14, 1)])
def test_ends_are_counted_as_often_as_clients_saw_them(counted: int, num_problems: int) -> None:
    assert len(miscounted(10, 3, counted)) == num_problems


@pytest.mark.parametrize(
    ("act", "ending", "is_fine"),
    [
        (ACT, Ending("finished"), True),
        (ACT, Ending("left"), True),
        (ACT, Ending("failed", "engine_died"), True),
        (ACT, Ending("refused", "internal_error"), False),
        (ACT, Ending("broken", "no end"), False),
        (ACT, Ending("unreached"), False),
        (replace(ACT, code="not_found"), Ending("refused", "not_found"), True),
        (replace(ACT, code="not_found"), Ending("refused", "queue_full"), True),
        (replace(ACT, code="not_found"), Ending("refused", "invalid_request"), False),
        (replace(ACT, code="not_found"), Ending("finished"), False),
    ],
)
def test_only_what_chaos_excuses_may_go_wrong(act: Act, ending: Ending, is_fine: bool) -> None:
    assert (problem_of(act, ending, unreachable=False) == "") is is_fine


def test_nobody_is_reached_while_the_server_is_replaced() -> None:
    assert problem_of(ACT, Ending("unreached"), unreachable=True) == ""
