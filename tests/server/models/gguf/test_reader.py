"""Headers: what other readers find is found, and nothing that a file says is believed."""

import ctypes
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_cpp import _ggml

from gguf_server.errors import ModelFileError
from gguf_server.models.gguf.header import Header, LongArray
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes
from gguf_server.models.gguf.types import TENSOR_TYPES
from gguf_server.settings.serve import Settings
from tests.gguf_files import header, pair, text, write_sparse
from tests.server.engine.llama import tiny_models

METADATA = {
    "general.architecture": "llama",
    "general.alignment": 32,
    "llama.block_count": 2,
    "llama.head_count_kv": [4, 8],
    "a.float": 0.5,
    "a.bool": True,
    "tokenizer.ggml.tokens": ["a", "bc", "d" * 1000],
    "a.long": list(range(5000)),
}
SHAPES = [("a.weight", (32, 4), 8), ("b.weight", (7,), 0)]


class Memory:
    """Bytes that count how much of them is read."""

    name = "m.gguf"

    def __init__(self, content: bytes, size_bytes: int | None = None) -> None:
        self._content = content
        self.size_bytes = len(content) if size_bytes is None else size_bytes
        self.num_read = 0

    def read(self, offset: int, count: int) -> bytes:
        data = self._content[offset : offset + count]
        self.num_read += len(data)
        return data


def whole() -> bytes:
    start, num_bytes = header(METADATA, SHAPES)
    return start + bytes(num_bytes)


def read(path: Path) -> Header:
    with FileBytes(path) as source:
        return read_header(source)


def refusal(content: bytes) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_header(Memory(content))
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("m.gguf")
    return caught.value.message


def test_values_tensors_and_offsets_are_read() -> None:
    found = read_header(Memory(whole()))
    assert found.metadata["llama.head_count_kv"] == (4, 8)
    assert found.metadata["a.float"] == 0.5
    assert found.metadata["a.bool"] is True
    assert found.metadata["tokenizer.ggml.tokens"] == LongArray("string", 3)
    assert found.metadata["a.long"] == LongArray("i32", 5000)
    assert [each.name for each in found.tensors] == ["a.weight", "b.weight"]
    assert (found.tensors[0].size_bytes, found.tensors[0].type_name) == (136, "Q8_0")
    assert found.tensors[1].offset == 160


def embedded(_: Path) -> Path:
    path = Settings().source
    assert isinstance(path, Path)
    return path


def tiny(directory: Path) -> Path:
    path = directory / "tiny.gguf"
    tiny_models.write_mixture(path)
    return path


@pytest.mark.parametrize("model", [embedded, tiny])
def test_another_reader_finds_the_same(tmp_path: Path, model: Callable[[Path], Path]) -> None:
    path = model(tmp_path)
    ours, theirs = read(path), gguf.GGUFReader(path)
    names = {name for name in theirs.fields if not name.startswith("GGUF.")}
    assert set(ours.metadata) == names
    for name, value in ours.metadata.items():
        contents = theirs.fields[name].contents()
        if isinstance(value, LongArray):
            assert value.length == len(contents)
        else:
            assert value == (tuple(contents) if isinstance(contents, list) else contents)
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert mine.name == other.name
        assert mine.dimensions == tuple(other.shape)
        assert mine.size_bytes == other.n_bytes
        assert ours.data_offset + mine.offset == other.data_offset


def test_tensor_types_are_those_of_ggml() -> None:
    type_size = _ggml.libggml.ggml_type_size
    type_size.restype = ctypes.c_size_t
    for number, kind in TENSOR_TYPES.items():
        assert _ggml.libggml.ggml_blck_size(number) == kind.block_elements, kind.name
        assert type_size(number) == kind.block_bytes, kind.name


def test_no_tensor_data_is_read(tmp_path: Path) -> None:
    start, num_bytes = header(METADATA, [("big", (1 << 20, 1 << 10), 0)])
    source = Memory(start, len(start) + num_bytes)
    read_header(source)
    assert source.num_read <= len(start) + 4


def test_a_vocabulary_is_walked_over_quickly_and_not_kept() -> None:
    start, _ = header({"tokenizer.ggml.tokens": [f"token {i}" for i in range(260_000)]}, [])
    tracemalloc.start()
    began = time.perf_counter()
    found = read_header(Memory(start))
    seconds = time.perf_counter() - began
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.metadata["tokenizer.ggml.tokens"] == LongArray("string", 260_000)
    assert most < 16 << 20
    assert seconds < 30  # a hang, not a slow test


def claim(num_tensors: int, num_pairs: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_pairs) + rest


def array(kind: int, length: int, rest: bytes = b"") -> bytes:
    return text("k") + struct.pack("<IIQ", 9, kind, length) + rest


def tensor(*dimensions: int, kind: int = 0, offset: int = 0, name: str = "t") -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04" + bytes(50), "is not a GGUF file"),
        (b"GGUF", "within its header"),
        (claim(0, 0, version=1), "version 1"),
        (claim(0, 0, version=99), "version 99"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (claim(1 << 60, 0), "claims"),
        (claim(0, 1 << 60), "claims"),
        (claim(0, 5), "within its header"),
        (claim(0, 1, struct.pack("<Q", 1 << 62)), "a string of"),
        (claim(0, 1, text("k") + struct.pack("<I", 77)), "unknown type, 77"),
        (claim(0, 1, array(9, 1, struct.pack("<IQ", 9, 1))), "unknown type, 9"),
        (claim(0, 1, array(8, 1 << 62)), "strings"),
        (claim(0, 1, array(0, 1 << 62)), "within its header"),
        (claim(0, 1, array(8, 1, struct.pack("<Q", 1 << 63))), "a string of"),
        (claim(0, 2, pair("k", 1) + pair("k", 2)), "'k' twice"),
        (claim(0, 1, pair("general.alignment", 24)), "no power of two"),
        (claim(0, 1, pair("general.alignment", 0)), "alignment is 0"),
        (claim(0, 1, pair("general.alignment", "x")), "alignment is 'x'"),
        (claim(1, 0, tensor(1, 1, 1, 1, 1)), "5 dimensions"),
        (claim(1, 0, tensor(4, 0)), "the shape"),
        (claim(1, 0, tensor(1 << 40, 1 << 40)), "the shape"),
        (claim(1, 0, tensor(4, kind=31)), "type 31"),
        (claim(1, 0, tensor(33, kind=8)), "no whole blocks"),
        (claim(1, 0, tensor(4, offset=5)), "not aligned"),
        (claim(2, 0, tensor(4) + tensor(4)), "'t' twice"),
        (claim(1, 0, tensor(1 << 20)), "ends before its tensors do"),
        (whole()[:-5], "ends before its tensors do"),
        (whole()[:100], "within its header"),
    ],
)
def test_a_bad_header_is_one_line_that_says_what_is_wrong(content: bytes, word: str) -> None:
    assert word in refusal(content)


def survives(content: bytes) -> None:
    try:
        read_header(Memory(content))
    except ModelFileError as exc:
        assert "\n" not in exc.message  # noqa: PT017  (either is right)


@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_are_a_header_or_one_error(noise: bytes) -> None:
    survives(b"GGUF" + noise)


GOOD, _ = header({**METADATA, "a.long": [1, 2]}, SHAPES)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_header_is_a_header_or_one_error(data: st.DataObject) -> None:
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 8))
        new = data.draw(
            st.sampled_from([b"\xff" * 8, bytes(8), struct.pack("<Q", 1 << 62)])
            | st.binary(max_size=8)
        )
        content[at : at + len(new)] = new
    survives(bytes(content[: data.draw(st.integers(0, len(content)))]))


def test_hostile_counts_cost_neither_time_nor_memory() -> None:
    assert "an array of 5000000 strings" in refusal(claim(0, 1, array(8, 5_000_000)))
    tracemalloc.start()
    survives(claim(0, 1, array(8, 500_000)) + bytes(8 * 500_000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20


def test_a_sparse_file_of_hundreds_of_gigabytes_is_read_at_once(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "big.gguf", METADATA, [("w", (1 << 20, 100_000), 0)])
    assert path.stat().st_size > 400_000_000_000
    assert read(path).tensors[0].size_bytes == 419_430_400_000
