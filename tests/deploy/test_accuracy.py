"""llama.cpp on simulated GPUs, and formulas that know nothing of it, agree."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from gguf_deploy.planning.measuring import Measurer
from tests.deploy.accuracy import CONFIGURATIONS, Cell, cells
from tests.deploy.accuracy_table import PAGE, table, with_table
from tests.deploy.architectures import ARCHITECTURES

Cells = Callable[[str], list[Cell]]


@pytest.fixture(scope="module")
def cells_of(tmp_path_factory: pytest.TempPathFactory):
    """Those of an architecture, measured once."""
    folder: Path = tmp_path_factory.mktemp("headers")
    with Measurer() as measurer:
        yield cache(lambda architecture: list(cells(measurer, folder, architecture)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_and_caches_are_the_same_to_the_byte(cells_of: Cells, architecture: str):
    found = cells_of(architecture)
    assert len(found) >= 3 * len(CONFIGURATIONS)
    for cell in found:
        measured = [(use.weights, use.cache) for use in cell.measured]
        computed = [(use.weights, use.cache) for use in cell.computed]
        assert measured == computed, (cell.placement, cell.configuration)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_memory_is_the_same_within_one_percent(cells_of: Cells, architecture: str):
    errors = {
        (cell.placement, cell.configuration): cell.total_error for cell in cells_of(architecture)
    }
    assert {where: error for where, error in errors.items() if abs(error) > 0.01} == {}


def test_compute_buffers_are_the_same_within_two_percent_where_all_phases_are_known(
    cells_of: Cells,
):
    exact = [cell for name in ARCHITECTURES for cell in cells_of(name) if cell.is_exact]
    assert len(exact) >= 60
    errors = {
        (cell.architecture, cell.placement, cell.configuration): cell.compute_error
        for cell in exact
    }
    assert {where: error for where, error in errors.items() if abs(error) > 0.02} == {}


def test_the_page_shows_the_table(cells_of: Cells):
    page = PAGE.read_text()
    renewed = table(cell for name in ARCHITECTURES for cell in cells_of(name))
    assert with_table(page, renewed) == page, "python -m tests.deploy.accuracy_table renews it"
