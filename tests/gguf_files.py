"""GGUF files made of others, or of a header alone: their data are a hole."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from gguf_server.models.gguf.types import TENSOR_TYPES

ALIGNMENT = 32
Shape = tuple[str, tuple[int, ...], int]  # name, dimensions (innermost first), number of the type


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, value: Any) -> bytes:
    """A key and its value, as small as its type allows."""
    match value:
        case bool():
            return text(key) + struct.pack("<I?", 7, value)
        case int():
            return text(key) + struct.pack("<II", 4, value)
        case float():
            return text(key) + struct.pack("<If", 6, value)
        case str():
            return text(key) + struct.pack("<I", 8) + text(value)
        case [str(), *_]:
            return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        case _:
            numbers = struct.pack(f"<{len(value)}i", *value)
            return text(key) + struct.pack("<IIQ", 9, 5, len(value)) + numbers


def header(
    metadata: Mapping[str, Any],
    shapes: Sequence[Shape],
    *,
    raw_pairs: bytes = b"",
    num_raw: int = 0,
) -> tuple[bytes, int]:
    """A header, padded, and how many bytes of data belong to it."""
    pairs = raw_pairs + b"".join(pair(key, value) for key, value in metadata.items())
    infos, offset = b"", 0
    for name, dimensions, number in shapes:
        size = TENSOR_TYPES[number].size_bytes(int(np.prod(dimensions, dtype=object)))
        infos += text(name) + struct.pack("<I", len(dimensions))
        infos += struct.pack(f"<{len(dimensions)}QIQ", *dimensions, number, offset)
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    start = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(metadata) + num_raw)
    whole = start + pairs + infos
    return whole + bytes(-len(whole) % ALIGNMENT), offset


def write_sparse(path: Path, metadata: Mapping[str, Any], shapes: Sequence[Shape]) -> Path:
    """Of its true size, and next to nothing on the disk."""
    start, num_bytes = header(metadata, shapes)
    path.write_bytes(start)
    with path.open("r+b") as file:
        file.truncate(len(start) + num_bytes)
    return path


def least_model(path: Path) -> Path:
    """What nobody would refuse by its header."""
    return write_sparse(path, {"general.architecture": "llama"}, [("output.weight", (32, 8), 0)])


def split(path: Path, directory: Path, count: int, stem: str) -> list[Path]:
    """The same model in several files, as llama.cpp splits them."""
    reader = gguf.GGUFReader(path)
    tensors = list(reader.tensors)
    raw = path.read_bytes()[24 : tensors[0].field.offset]
    num_pairs = len([name for name in reader.fields if not name.startswith("GGUF.")])
    size = -(-len(tensors) // count)
    paths = []
    for number in range(count):
        mine = tensors[number * size : (number + 1) * size]
        shapes = [
            (each.name, tuple(int(d) for d in each.shape), int(each.tensor_type)) for each in mine
        ]
        keys = _split_keys(number, count, len(tensors))
        start, _ = header(
            {},
            shapes,
            raw_pairs=(raw if number == 0 else b"") + keys,
            num_raw=3 + (num_pairs if number == 0 else 0),
        )
        target = directory / f"{stem}-{number + 1:05}-of-{count:05}.gguf"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.write(start)
            for each in mine:
                data = each.data.tobytes()
                file.write(data + bytes(-len(data) % ALIGNMENT))
        paths.append(target)
    return paths


def without_template(path: Path, target: Path) -> Path:
    """The same model, its chat template under a name that nobody looks for."""
    key = b"tokenizer.chat_template"
    content = path.read_bytes()
    assert content.count(text(key.decode())) == 1
    target.write_bytes(content.replace(key, b"tokenizer.chat_templatX", 1))
    return target


def _split_keys(number: int, count: int, num_tensors: int) -> bytes:
    return (
        text("split.no")
        + struct.pack("<IH", 2, number)
        + text("split.count")
        + struct.pack("<IH", 2, count)
        + text("split.tensors.count")
        + struct.pack("<Ii", 5, num_tensors)
    )
