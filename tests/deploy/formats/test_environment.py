"""A plan's knobs reach the server as they are."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gguf_deploy.formats.environment import environment
from gguf_server.knobs import Adapter, CacheType, FlashAttention, Knobs, KvLayout
from gguf_server.models.placement import Placement
from gguf_server.models.reference import parse_reference
from gguf_server.settings.serve import Settings
from tests.deploy.placements import ALL, COMMIT, dense_on_cpu, moe_on_l40s

CACHE_TYPES = st.sampled_from(get_args(CacheType))
PATHS = st.from_regex(r"/[a-z][a-z:0-9. ]{0,9}[a-z]", fullmatch=True)


@st.composite
def all_knobs(draw: st.DrawFn) -> Knobs:
    layout = draw(st.sampled_from(get_args(KvLayout)))
    return Knobs(
        context_tokens=draw(st.integers(0, 10**7)),
        slots=draw(st.integers(1, 16)),
        retained_prefixes=draw(st.integers(0, 240)),
        kv_layout=layout,
        kv_cells=draw(st.integers(0, 10**8)) if layout == "unified" else 0,
        cache_type_k=draw(CACHE_TYPES),
        cache_type_v=draw(CACHE_TYPES),
        flash_attention=draw(st.sampled_from(get_args(FlashAttention))),
        n_gpu_layers=draw(st.integers(-1, 200)),
        n_cpu_moe=draw(st.integers(0, 200)),
        tensor_split=tuple(draw(st.lists(st.floats(0, 1e18), max_size=8))),
        max_batch_tokens=draw(st.integers(16, 8192)),
        embeddings=draw(st.booleans()),
        lora=tuple(draw(st.lists(st.builds(Adapter, PATHS, st.floats(-100, 100)), max_size=3))),
    )


def read_back(placement: Placement) -> Settings:
    return Settings.read({}, environment(placement))


def knobs_of(settings: Settings) -> Knobs:
    """As the server would give them to llama.cpp."""
    names = set(Knobs.__struct_fields__) - {"context_tokens", "lora"}
    return Knobs(
        context_tokens=settings.context,
        lora=tuple(Adapter(each.path, each.scale) for each in settings.lora),
        **{name: getattr(settings, name) for name in names},
    )


@given(all_knobs())
def test_the_server_reads_the_same_knobs_back(knobs: Knobs) -> None:
    assert knobs_of(read_back(replace(moe_on_l40s(), knobs=knobs))) == knobs


@pytest.mark.parametrize("placement", ALL)
def test_the_server_serves_the_model_of_the_plan(placement) -> None:
    settings = read_back(placement())
    assert settings.source == parse_reference(placement().model.reference)
    assert knobs_of(settings) == placement().knobs


def test_the_model_is_named_with_its_commit() -> None:
    assert environment(moe_on_l40s())["MODEL_NAME"] == f"acme/moe-8x3b-gguf@{COMMIT}:Q8_0"


def test_a_file_is_named_by_its_path() -> None:
    assert read_back(dense_on_cpu()).source == Path("/models/$HOME/small: one.gguf")


def test_only_what_differs_from_the_server_s_defaults_is_said() -> None:
    assert environment(moe_on_l40s()).keys() == {
        "MODEL_NAME",
        "GGUF_SERVED_MODEL_NAME",
        "GGUF_DEVICE",
        "GGUF_CONTEXT",
        "GGUF_CACHE_TYPE_K",
        "GGUF_CACHE_TYPE_V",
    }
    assert environment(replace(moe_on_l40s(), knobs=Knobs())).keys() == {
        "MODEL_NAME",
        "GGUF_SERVED_MODEL_NAME",
        "GGUF_DEVICE",
    }


def test_what_is_not_said_is_the_same_on_both_sides() -> None:
    assert knobs_of(Settings()) == Knobs()


def test_a_colon_in_an_adapter_s_path_is_no_scale() -> None:
    assert environment(dense_on_cpu())["GGUF_LORA"] == "/a.gguf,/b:0.gguf:1"
