"""The sets of tokens that may be drawn, held against llama.cpp's own samplers."""

import ctypes

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.engine.llama.truncation import Truncation, largest

SHAPES = [0.3, 2.0, 8.0]  # flat, like a model's, peaked


def row_of(size: int, spread: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, size).astype(np.float32)


def llama_cpp_keeps(row: np.ndarray, truncation: Truncation) -> set[int]:
    """The surviving candidates of llama.cpp's chain in our order."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    if truncation.top_k > 0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(truncation.top_k))
    for start, value in (
        (lib.llama_sampler_init_typical, truncation.typical_p),
        (lib.llama_sampler_init_top_p, truncation.top_p),
        (lib.llama_sampler_init_min_p, truncation.min_p),
    ):
        lib.llama_sampler_chain_add(chain, start(value, 1))
    data = (lib.llama_token_data * len(row))()
    for token, logit in enumerate(row):
        data[token] = lib.llama_token_data(token, float(logit), 0.0)
    array = lib.llama_token_data_array(data=data, size=len(row), selected=-1, sorted=False)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    kept = {int(array.data[i].id) for i in range(array.size)}
    lib.llama_sampler_free(chain)
    return kept


@pytest.mark.parametrize("spread", SHAPES)
@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 40},
        {"top_k": 500},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"typical_p": 0.7},
        {"top_p": 0.95, "min_p": 0.02},
        {"top_k": 40, "top_p": 0.95, "min_p": 0.05},
        {"top_k": 100, "typical_p": 0.6, "top_p": 0.8, "min_p": 0.1},
        {"top_p": 0.0},
        {"top_k": 10_000},
    ],
    ids=str,
)
def test_keeps_the_tokens_that_llama_cpp_keeps(spread: float, options: dict[str, float]):
    off = {"top_k": 0, "typical_p": 1.0, "top_p": 1.0, "min_p": 0.0}
    truncation = Truncation(**{**off, **options})  # type: ignore[arg-type]
    row = row_of(3001, spread, seed=7)

    ours = set(truncation.candidates(row, np.empty_like(row)).tolist())

    # A sum of floats in another order may move the border by one token.
    assert len(ours ^ llama_cpp_keeps(row, truncation)) <= 1


@given(size=st.integers(1, 700), count=st.integers(1, 800), seed=st.integers(0, 99))
@settings(deadline=None)
def test_the_largest_are_the_head_of_the_sorted_row(size: int, count: int, seed: int):
    row = row_of(size, 1.0, seed)
    assert largest(row, count).tolist() == np.argsort(-row)[:count].tolist()


@given(
    top_k=st.integers(0, 60),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    typical_p=st.floats(0, 1),
    spread=st.sampled_from(SHAPES),
)
@settings(deadline=None)
def test_some_token_always_stays_and_never_a_banned_one(
    top_k: int, top_p: float, min_p: float, typical_p: float, spread: float
):
    row = row_of(600, spread, seed=3)
    row[::2] = -np.inf
    truncation = Truncation(top_k=top_k, typical_p=typical_p, top_p=top_p, min_p=min_p)

    ids = truncation.candidates(row, np.empty_like(row))

    assert len(ids) > 0
    assert len(set(ids.tolist())) == len(ids)
    if not truncation.is_off and (top_k <= 0 or top_k <= 300):
        assert np.isfinite(row[ids]).any()
