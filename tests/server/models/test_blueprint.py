"""What is known of a model on the hub when only its header has been moved."""

from pathlib import Path

import pytest

from gguf_server.errors import ModelFileError, NotFetched
from gguf_server.models.blueprint import Blueprint, blueprints
from gguf_server.models.choice import Wanted
from gguf_server.models.fetch import fetch
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes
from gguf_server.models.gguf.sparse import write_sparse
from gguf_server.models.reference import Reference
from tests.gguf_files import header, pair, text

REPO = Reference("org/repo")
BIG = 200_000  # tensors of so many weights are not to be moved


def first(source, store, **options) -> Blueprint:
    with blueprints(source, Wanted(), store, **options) as found:
        return next(found)


def test_only_the_header_is_moved_and_the_file_has_its_true_size(hub, store, shop):
    path = shop.model(num_weights=BIG)
    repository = shop.offer("org/repo", {"m-Q8_0.gguf": path})
    with blueprints(REPO, Wanted(), store) as found:
        blueprint = next(found)
        assert blueprint.path.stat().st_size == path.stat().st_size
        with FileBytes(blueprint.path) as source, FileBytes(path) as original:
            assert read_header(source) == read_header(original)
        assert blueprint.path.stat().st_blocks * 512 < 100_000
    assert hub.bytes_sent() < path.stat().st_size / 2
    commit = repository.refs["main"]
    assert (blueprint.reference, blueprint.commit) == (f"org/repo@{commit}:Q8_0", commit)
    assert blueprint.size_bytes == path.stat().st_size
    assert not blueprint.path.exists(), "it was for the time of the plan"
    assert not store.root.exists()


def test_every_model_that_would_do_is_offered_best_first_and_drawn_when_asked_for(hub, store, shop):
    shop.offer("org/repo", {f"m-{label}.gguf": shop.model() for label in ("Q4_K_M", "Q8_0")})
    with blueprints(REPO, Wanted(), store, every=True) as found:
        assert next(found).label == "Q8_0"
        assert not any("Q4_K_M" in each.path for each in hub.record.requests)
        assert [each.label for each in found] == ["Q4_K_M"]


def test_a_split_model_is_drawn_with_all_its_parts(store, shop):
    names = [f"Q8_0/m-0000{number}-of-00002.gguf" for number in (1, 2)]
    files = {name: shop.model(part=(index, 2)) for index, name in enumerate(names)}
    shop.offer("org/repo", files)
    with blueprints(REPO, Wanted(), store) as found:
        blueprint = next(found)
        assert blueprint.path.name == "m-00001-of-00002.gguf"
        assert (blueprint.path.parent / "m-00002-of-00002.gguf").exists()
    assert blueprint.size_bytes == sum(path.stat().st_size for path in files.values())


def test_what_is_here_needs_no_hub(hub, store, shop):
    shop.offer("org/repo", {"m-Q8_0.gguf": shop.model()})
    got = fetch(REPO, Wanted(), store, report=lambda _: None)
    hub.vanish()
    for options in ({}, {"offline": True}, {"offline": True, "every": True}):
        blueprint = first(REPO, store, **options)
        assert blueprint.path == got.path
        assert blueprint.reference == f"org/repo@{got.commit}:Q8_0"


def test_offline_there_must_be_something(store):
    with pytest.raises(NotFetched, match=r"never fetched into .*; without --offline"):
        first(REPO, store, offline=True)


def test_a_file_is_measured_where_it_is(store, shop):
    path = shop.model()
    blueprint = first(path, store)
    assert (blueprint.path, blueprint.reference, blueprint.commit) == (path, str(path), "")
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        first(Path("/nowhere.gguf"), store)


def test_what_the_reader_passes_over_is_kept_too(tmp_path):
    """Long arrays of numbers are skipped when a header is read, and llama.cpp reads them."""
    numbers = pair("a.numbers", list(range(50_000)))
    start, num_bytes = header({"general.architecture": "llama"}, [], raw_pairs=numbers, num_raw=1)
    assert text("a.numbers") in start
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(start + bytes(num_bytes))
    with FileBytes(whole) as source:
        write_sparse(source, tmp_path / "sparse.gguf")
    assert (tmp_path / "sparse.gguf").read_bytes() == whole.read_bytes()


def test_of_a_mixture_a_token_reads_the_experts_that_it_meets(tmp_path):
    path = tmp_path / "moe.gguf"
    shapes = [
        ("token_embd.weight", (64, 100), 0),
        ("output.weight", (64, 100), 0),
        ("blk.0.ffn_up_exps.weight", (64, 64, 8), 0),
    ]
    metadata = {
        "general.architecture": "llama",
        "llama.expert_count": 8,
        "llama.expert_used_count": 2,
    }
    start, num_bytes = header(metadata, shapes)
    path.write_bytes(start + bytes(num_bytes))
    description = first(path, None).description
    experts, output = 64 * 64 * 8 * 4, 64 * 100 * 4
    assert description.active_bytes == experts // 4 + output
    assert description.size_bytes == experts + 2 * output
    assert description.largest_bf16_matrix == 0


def test_the_largest_bf16_matrix_is_one_that_is_multiplied(tmp_path):
    """Not the embeddings, of which rows are looked up; of experts one."""
    bf16 = 30
    shapes = [
        ("token_embd.weight", (64, 1000), bf16),
        ("blk.0.ffn_up_exps.weight", (64, 96, 8), bf16),
        ("blk.0.ffn_down.weight", (64, 500), 0),
        ("output.weight", (64, 64), bf16),
    ]
    path = tmp_path / "bf16.gguf"
    start, num_bytes = header({"general.architecture": "llama"}, shapes)
    path.write_bytes(start + bytes(num_bytes))
    assert first(path, None).description.largest_bf16_matrix == 64 * 96
