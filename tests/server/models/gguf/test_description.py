"""What a model is, from its header: of a file, a split set, or one on a hub."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gguf_server.commands.info import as_json, lines
from gguf_server.errors import ModelFileError
from gguf_server.models.gguf.description import Description, describe
from gguf_server.models.gguf.header import Header
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.remote import RemoteBytes
from gguf_server.models.gguf.split import read_headers
from gguf_server.models.inspection import Inspected
from gguf_server.settings.serve import Settings
from tests.gguf_files import Shape, split, write_sparse
from tests.hub.content import File
from tests.hub.faults import Fault
from tests.hub.server import Hub
from tests.server.models.transfer.worker import Direct

Q8_0, F32 = 8, 0


def moe(layers: int = 28) -> tuple[dict[str, object], list[Shape]]:
    """The driving example: 18.4 B, eight experts of which two are used, Q8_0."""
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "8x3B",
        "general.file_type": 7,
        "general.license": "llama3.2",
        "general.base_model.count": 1,
        "general.base_model.0.repo_url": "https://huggingface.co/org/base",
        "llama.block_count": layers,
        "llama.context_length": 131_072,
        "llama.embedding_length": 3072,
        "llama.attention.head_count": 24,
        "llama.attention.head_count_kv": [8] * layers,
        "llama.expert_count": 8,
        "llama.expert_used_count": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": [f"token{i}" for i in range(128_256)],
    }
    shapes: list[Shape] = [
        ("token_embd.weight", (3072, 128_256), Q8_0),
        ("output_norm.weight", (3072,), F32),
    ]
    for layer in range(layers):
        block = f"blk.{layer}"
        shapes += [
            (f"{block}.attn_norm.weight", (3072,), F32),
            (f"{block}.attn_q.weight", (3072, 3072), Q8_0),
            (f"{block}.attn_k.weight", (3072, 1024), Q8_0),
            (f"{block}.attn_v.weight", (3072, 1024), Q8_0),
            (f"{block}.attn_output.weight", (3072, 3072), Q8_0),
            (f"{block}.ffn_norm.weight", (3072,), F32),
            (f"{block}.ffn_gate_inp.weight", (3072, 8), F32),
            (f"{block}.ffn_gate_exps.weight", (3072, 8192, 8), Q8_0),
            (f"{block}.ffn_up_exps.weight", (3072, 8192, 8), Q8_0),
            (f"{block}.ffn_down_exps.weight", (8192, 3072, 8), Q8_0),
        ]
    return metadata, shapes


def described(path: Path) -> Description:
    return describe(read_headers(path))


def test_parameters_are_counted_and_idle_experts_left_out(tmp_path: Path) -> None:
    about = described(write_sparse(tmp_path / "m.gguf", *moe()))
    experts = 28 * 3 * 3072 * 8192 * 8
    others = 2 * 3072 + 2 * 3072 * 3072 + 2 * 3072 * 1024 + 3072 * 8
    assert about.num_params == 3072 * 128_256 + 3072 + 28 * others + experts
    assert about.num_params - about.num_active_params == experts * 6 // 8
    assert (about.num_experts, about.num_experts_used) == (8, 2)
    assert (about.num_layers, about.num_heads, about.num_kv_heads) == (28, 24, 8)
    assert (about.context_tokens, about.embedding_size, about.vocab_size) == (
        131_072,
        3072,
        128_256,
    )
    assert about.label == "Q8_0"
    assert 8.5 <= about.bits_per_weight < 8.51
    assert about.tokenizer == "gpt2 llama-bpe"
    assert about.base_models == ("org/base",)
    assert about.unservable == ""


def test_it_is_told_to_people_and_to_scripts(tmp_path: Path) -> None:
    about = described(write_sparse(tmp_path / "m.gguf", *moe()))
    found = Inspected("org/repo:Q8_0", about, "a" * 40, "Q8_0: the only model")
    told = lines(found)
    assert "parameters     18.0 B, 5.3 B of them for each token" in told
    assert "experts        2 of 8 for each token" in told
    assert "chat template  none" in told
    assert max(len(line) for line in told) < 100
    assert as_json(found)["num_params"] == about.num_params


def test_the_embedded_model_is_what_it_is() -> None:
    path = Settings().source
    assert isinstance(path, Path)
    about = described(path)
    assert about.num_params == 134_515_008
    assert (about.label, about.license, about.num_layers) == ("Q4_1", "apache-2.0", 30)
    assert "<|im_start|>" in about.chat_template


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"general.architecture": "clip"}, "projector"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "--lora"),
        ({"general.type": "imatrix"}, "data about one"),
        ({"general.architecture": "llama"}, "vocabulary only"),
    ],
)
def test_what_is_no_model_says_so(metadata: dict[str, str], word: str) -> None:
    assert word in describe([Header(3, {**metadata}, (), 0)]).unservable


def test_a_split_is_one_model(tmp_path: Path) -> None:
    source = Settings().source
    assert isinstance(source, Path)
    first, *_ = split(source, tmp_path, 3, "m-Q4_1")
    one, parts = described(source), described(first)
    assert parts.num_params == one.num_params
    assert parts.tensor_bytes == one.tensor_bytes
    assert parts.chat_template == one.chat_template


def test_a_split_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    source = Settings().source
    assert isinstance(source, Path)
    first, second, third = split(source, tmp_path, 3, "m-Q4_1")
    with pytest.raises(ModelFileError, match="part 2 of a split model"):
        read_headers(second)
    kept = third.read_bytes()
    third.write_bytes(second.read_bytes())
    with pytest.raises(ModelFileError, match="part 3 of 3 says that it is number 1 of 3"):
        read_headers(first)
    third.write_bytes(kept)
    second.unlink()
    with pytest.raises(ModelFileError, match=r"00002-of-00003\.gguf is missing"):
        read_headers(first)


# --- far away ----------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


def test_a_split_of_400_gb_costs_less_than_16_mb_of_traffic(hub: Hub, tmp_path: Path) -> None:
    metadata, shapes = moe(layers=600)
    count, files = 10, {}
    size = -(-len(shapes) // count)
    for number in range(count):
        own = {"split.no": number, "split.count": count, "split.tensors.count": len(shapes)}
        if number == 0:
            own = {**metadata, **own}  # type: ignore[dict-item]
        name = f"m-Q8_0-{number + 1:05}-of-{count:05}.gguf"
        mine = shapes[number * size : (number + 1) * size]
        files[name] = File(write_sparse(tmp_path / name, own, mine), claimed_sha256="0" * 64)
    total = sum(file.size_bytes for file in files.values())
    assert total > 400_000_000_000
    hub.repository("org/repo", files)
    commit = hub.repositories["org/repo"].refs["main"]
    headers = []
    with httpx2.Client(trust_env=False) as client:
        for name, file in files.items():
            url = f"{hub.cdn_url}/blobs/org/repo/{commit}/{name}"
            headers.append(read_header(RemoteBytes(Direct(client, url), name, file.size_bytes)))
    assert describe(headers).num_params > 300_000_000_000
    assert hub.bytes_sent() < 16_000_000


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=403),
        Fault("cut", num_bytes=100),
        Fault("wrong_range"),
        Fault("ignores_range"),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_header_survives_a_bad_answer(hub: Hub, tmp_path: Path, fault: Fault) -> None:
    path = write_sparse(tmp_path / "m.gguf", *moe(1))
    hub.repository("org/repo", {"m.gguf": File(path, claimed_sha256="0" * 64)})
    commit = hub.repositories["org/repo"].refs["main"]
    hub.faults.plan(fault)
    with httpx2.Client(trust_env=False) as client:
        url = f"{hub.cdn_url}/blobs/org/repo/{commit}/m.gguf"
        source = RemoteBytes(Direct(client, url), "m.gguf", path.stat().st_size)
        assert describe([read_header(source)]).num_layers == 1
