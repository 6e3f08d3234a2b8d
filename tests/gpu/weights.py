"""`python -m tests.gpu.weights NAME FILE VOCABULARY`: a model with random weights.

Written as fast as a disk takes it: blocks are drawn once and repeated from another place for each
tensor. What is computed with does not care; twenty gigabytes of random numbers would take minutes.
"""

import math
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from gguf_server.models.gguf.types import TENSOR_TYPES
from tests.deploy.architectures import F32, Q8_0, Synthetic
from tests.gguf_files import ALIGNMENT, Shape, header
from tests.gpu.models import SMALL_MODELS, TRUE_MODELS
from tests.gpu.vocabulary import Keys, extended, read

_BLOCK = TENSOR_TYPES[Q8_0]
_NUM_BLOCKS = 1 << 20  # 36 MB, more than any cache that a repetition could hide in
_STEP = 65_537  # blocks from one tensor's beginning to the next one's
_SPREAD = 127 / math.sqrt(3)  # standard deviation of what is drawn

Bytes = npt.NDArray[np.uint8]


def write(path: Path, shape: Synthetic, tokenizer: Keys) -> Path:
    """The file has its name only when it is whole, and on the disk: a cold start reads it there."""
    keys = {f"{shape.architecture}.{key}": value for key, value in shape.keys.items()}
    metadata = {"general.architecture": shape.architecture, "general.file_type": 7}
    start, _ = header({**metadata, **keys, **tokenizer}, shape.shapes)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(start)
        for number, tensor in enumerate(shape.shapes):
            _write_tensor(file, tensor, number)
        file.flush()
        os.fsync(file.fileno())
    return partial.rename(path)


def _write_tensor(file: BinaryIO, tensor: Shape, number: int) -> None:
    name, dimensions, kind = tensor
    count = math.prod(dimensions)
    if kind == F32:
        size = file.write(_floats(name, count, dimensions[0], number).tobytes())
    else:
        assert kind == Q8_0
        parts = _quantized(count // _BLOCK.block_elements, dimensions[0], number)
        size = sum(file.write(part.data) for part in parts)
    file.write(bytes(-size % ALIGNMENT))


def _floats(name: str, count: int, width: int, number: int) -> npt.NDArray[np.float32]:
    """Norms change nothing; other weights are as small as keeps their sums of size one."""
    if name.endswith("norm.weight"):
        return np.ones(count, np.float32)
    drawn = np.random.default_rng(number).standard_normal(count, np.float32)
    return drawn / np.float32(math.sqrt(width))


def _quantized(num_blocks: int, width: int, number: int) -> Iterator[Bytes]:
    blocks = _blocks()
    scale = np.float16(1 / (_SPREAD * math.sqrt(width)))
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    first = number * _STEP % _NUM_BLOCKS
    while num_blocks:
        taken = blocks[first : first + num_blocks]
        yield taken.reshape(-1)
        num_blocks, first = num_blocks - len(taken), 0


@cache
def _blocks() -> Bytes:
    """A scale in two bytes, then the numbers: who takes them sets the scale."""
    drawn = np.random.default_rng(0).integers(-127, 128, (_NUM_BLOCKS, 34), np.int8)
    return drawn.view(np.uint8)


def main(name: str, path: str, vocabulary: str) -> None:
    [model] = [each for each in (*TRUE_MODELS, *SMALL_MODELS) if each.name == name]
    write(Path(path), model.shape, extended(read(Path(vocabulary)), model.num_vocabulary_tokens))


if __name__ == "__main__":
    main(*sys.argv[1:])
