"""What the hub tells of a model that has no GGUF file."""

import json

import pytest

from gguf_server.errors import IncompleteSplit
from gguf_server.models.listing import RemoteFile
from gguf_server.models.reference import Reference
from gguf_server.models.safetensors import read_config, safetensors, weights

REPO = Reference("org/repo")
CONFIG = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 8192}


def chosen(*names: str) -> list[str]:
    files = [RemoteFile(name, 5, "0" * 64) for name in names]
    return [file.path for file in weights("org/repo", files)]


def test_its_size_commit_kind_and_context_are_told_and_no_weights_move(hub, shop) -> None:
    files = {
        "config.json": shop.text(json.dumps(CONFIG)),
        "model-00001-of-00002.safetensors": shop.text("12345"),
        "model-00002-of-00002.safetensors": shop.text("1234567"),
        "README.md": shop.text("x"),
    }
    commit = shop.offer("org/repo", files).refs["main"]
    found = safetensors(REPO)
    assert found is not None
    assert (found.reference, found.name) == (f"org/repo@{commit}", "org/repo")
    assert (found.commit, found.size_bytes, found.num_files) == (commit, 12, 2)
    assert (found.architecture, found.context_tokens) == ("LlamaForCausalLM", 8192)
    assert hub.bytes_sent("safetensors") == 0


def test_who_has_no_weights_or_no_config_is_no_such_model(shop) -> None:
    shop.offer("org/repo", {"config.json": shop.text("{}")})
    assert safetensors(REPO) is None
    shop.offer("org/repo", {"model.safetensors": shop.text("1")})
    assert safetensors(REPO) is None


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("model.safetensors", "consolidated.safetensors"), ["model.safetensors"]),
        (("adapter_model.safetensors", "vae/model.safetensors"), []),
        (
            ("model.safetensors", "model-00001-of-00001.safetensors"),
            ["model-00001-of-00001.safetensors"],
        ),
    ],
)
def test_weights_are_those_that_transformers_loads(names: tuple[str, ...], wanted: list[str]):
    assert chosen(*names) == wanted


def test_a_part_that_is_missing_is_said() -> None:
    with pytest.raises(IncompleteSplit, match="has 1 of 3 parts of model"):
        chosen("model-00002-of-00003.safetensors")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"{}", ("", 0)),
        (b"no JSON", ("", 0)),
        (b"[]", ("", 0)),
        (b'{"architectures": [], "max_position_embeddings": "many"}', ("", 0)),
        (
            b'{"architectures": ["G"], "text_config": {"max_position_embeddings": 9}}',
            ("G", 9),
        ),
    ],
)
def test_a_config_tells_what_it_tells(text: bytes, wanted: tuple[str, int]) -> None:
    assert read_config(text) == wanted
