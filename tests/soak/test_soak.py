"""The short soak: a minute of what `make soak` does for twenty."""

import asyncio
from pathlib import Path

import pytest

from tests.server.engine.llama import tiny_models
from tests.soak.report import table
from tests.soak.soak import Soaking, new_seed, soak


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_minute_of_load_and_chaos_leaves_nothing_behind(tmp_path: Path) -> None:
    model = tmp_path / "tiny.gguf"
    tiny_models.write_mixture(model)
    soaking = Soaking(model, tmp_path, seconds=60, seed=new_seed())
    print(f"seed {soaking.seed}")
    lives = asyncio.run(soak(soaking))
    print(table(lives))
    assert [problem for life in lives for problem in life.problems()] == []
    assert all(life.tally.num_answered for life in lives)
    assert sum(life.chaos.total() for life in lives) >= sum(life.leg.num_chaotic for life in lives)
