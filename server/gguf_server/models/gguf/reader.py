"""Reads the header of a GGUF file, which may be anything: nothing in it is believed.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct

from gguf_server.errors import ModelFileError
from gguf_server.models.gguf.cursor import Cursor
from gguf_server.models.gguf.header import Header, LongArray, Scalar, Tensor, Value
from gguf_server.models.gguf.source import ByteSource
from gguf_server.models.gguf.types import TENSOR_TYPES

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_BOOL = 7
# By number: as struct calls them, and as we do.
_NUMBERS = {
    0: ("B", "u8"),
    1: ("b", "i8"),
    2: ("H", "u16"),
    3: ("h", "i16"),
    4: ("I", "u32"),
    5: ("i", "i32"),
    6: ("f", "f32"),
    _BOOL: ("?", "bool"),
    10: ("Q", "u64"),
    11: ("q", "i64"),
    12: ("d", "f64"),
}
_MAX_KEPT_NUMBERS = 4096  # of an array: one for each layer, with room
_MAX_KEY_BYTES = 65_535  # as the format says
_MAX_STRING_BYTES = 4 << 20  # templates are the longest, and some are long
_MAX_STRINGS = 4_000_000  # of an array; vocabularies have some 100,000
_MAX_PAIRS = 100_000
_MAX_TENSORS = 1_000_000
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 1 << 62
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 20


def read_header(source: ByteSource) -> Header:
    """Raises ``ModelFileError``: one line with what is wrong. Never reads a tensor."""
    cursor = Cursor(source)
    version = _version(cursor, source)
    num_tensors, num_pairs = cursor.count(), cursor.count()
    if num_tensors > _MAX_TENSORS or num_pairs > _MAX_PAIRS:
        raise cursor.fail(f"it claims {num_tensors} tensors and {num_pairs} keys")
    metadata = _metadata(cursor, num_pairs)
    alignment = _alignment(cursor, metadata)
    tensors = _tensors(cursor, num_tensors, alignment)
    data_offset = -(-cursor.offset // alignment) * alignment if tensors else cursor.offset
    _check_data(source, tensors, data_offset)
    return Header(version, metadata, tensors, data_offset)


def _version(cursor: Cursor, source: ByteSource) -> int:
    magic = source.read(0, 4)[:4]
    if magic != _MAGIC:
        msg = f"{source.name} is not a GGUF file: it starts with {magic!r}, not {_MAGIC!r}"
        raise ModelFileError(msg)
    cursor.take(4)
    version = int(cursor.number("I"))
    if version in _VERSIONS:
        return version
    [swapped] = struct.unpack(">I", struct.pack("<I", version))
    if swapped in _VERSIONS:
        msg = f"{source.name} is a big-endian GGUF file; take the little-endian one"
        raise ModelFileError(msg)
    msg = (
        f"{source.name} is of GGUF version {version}, only 2 and 3 can be served; take a newer file"
    )
    raise ModelFileError(msg)


# --- metadata ----------------------------------------------------------------------------------


def _metadata(cursor: Cursor, num_pairs: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(num_pairs):
        key = _string(cursor, _MAX_KEY_BYTES)
        if key in metadata:
            raise cursor.fail(f"it has the key {key!r} twice")
        metadata[key] = _value(cursor, key)
    return metadata


def _value(cursor: Cursor, key: str) -> Value:
    kind = int(cursor.number("I"))
    return _array(cursor, key) if kind == _ARRAY else _scalar(cursor, kind, key)


def _scalar(cursor: Cursor, kind: int, key: str) -> Scalar:
    if kind == _STRING:
        return _string(cursor, _MAX_STRING_BYTES)
    if kind not in _NUMBERS:
        raise cursor.fail(f"{key} is of an unknown type, {kind}")
    return cursor.number(_NUMBERS[kind][0])


def _array(cursor: Cursor, key: str) -> Value:
    kind, length = int(cursor.number("I")), cursor.count()
    if kind == _STRING and length > _MAX_STRINGS:
        raise cursor.fail(f"{key} is an array of {length} strings")
    if kind == _STRING:
        cursor.skip_strings(length)
        return LongArray("string", length)
    if kind not in _NUMBERS:  # arrays of arrays, too: llama.cpp has none
        raise cursor.fail(f"{key} is an array of an unknown type, {kind}")
    code, name = _NUMBERS[kind]
    if length > _MAX_KEPT_NUMBERS:
        cursor.skip(length * struct.calcsize(code))
        return LongArray(name, length)
    return tuple(cursor.number(code) for _ in range(length))


def _string(cursor: Cursor, most: int) -> str:
    length = cursor.count()
    if length > most:
        raise cursor.fail(f"a string of {length} bytes at {cursor.offset}")
    return cursor.take(length).decode("utf-8", "replace")


def _alignment(cursor: Cursor, metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT:
        raise cursor.fail(f"its alignment is {alignment!r}")
    if alignment & (alignment - 1):
        raise cursor.fail(f"its alignment, {alignment}, is no power of two")
    return alignment


# --- tensors -----------------------------------------------------------------------------------


def _tensors(cursor: Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        tensor = _tensor(cursor)
        if tensor.name in tensors:
            raise cursor.fail(f"it has the tensor {tensor.name!r} twice")
        if tensor.offset % alignment:
            raise cursor.fail(f"the tensor {tensor.name!r} starts at {tensor.offset}, not aligned")
        tensors[tensor.name] = tensor
    return tuple(tensors.values())


def _tensor(cursor: Cursor) -> Tensor:
    name = _string(cursor, _MAX_KEY_BYTES)
    num_dimensions = int(cursor.number("I"))
    if num_dimensions > _MAX_DIMENSIONS:
        raise cursor.fail(f"the tensor {name!r} has {num_dimensions} dimensions")
    dimensions = tuple(cursor.count() for _ in range(num_dimensions))
    number, offset = int(cursor.number("I")), cursor.count()
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise cursor.fail(f"the tensor {name!r} is of type {number}, which llama.cpp cannot load")
    num_elements = 1
    for each in dimensions:
        num_elements *= each
        if each == 0 or num_elements > _MAX_ELEMENTS:
            raise cursor.fail(f"the tensor {name!r} has the shape {dimensions}")
    row = dimensions[0] if dimensions else 1
    if row % kind.block_elements:
        raise cursor.fail(f"rows of the tensor {name!r} are no whole blocks of {kind.name}")
    return Tensor(name, dimensions, kind.name, offset, kind.size_bytes(num_elements))


def _check_data(source: ByteSource, tensors: tuple[Tensor, ...], data_offset: int) -> None:
    """Are the tensors where they should be, all of them?"""
    end = data_offset + max((each.offset + each.size_bytes for each in tensors), default=0)
    if end > source.size_bytes:
        msg = (
            f"{source.name} ends before its tensors do: {source.size_bytes} of {end} bytes;"
            " download it again"
        )
        raise ModelFileError(msg)
