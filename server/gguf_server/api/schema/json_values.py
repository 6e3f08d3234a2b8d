"""JSON that we pass on without reading it: schemas, and variables for templates."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator

from gguf_server.api.validation import invalid

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
_LEAST = -(2.0**63)  # llguidance makes it an integer and negates that: its stack overflows


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    """Whoever gets it reads it recursively, and it travels to other processes."""
    if is_deeper_than(MAX_DEPTH, value):
        raise invalid(f"must not be nested deeper than {MAX_DEPTH}")
    try:
        num_bytes = len(msgspec.msgpack.encode(value))
    except UnicodeEncodeError:
        raise invalid("has half a character (a lone surrogate) in it") from None
    except OverflowError:
        raise invalid("has a number of more than 64 bits in it") from None
    if num_bytes > MAX_BYTES:
        raise invalid(f"must not have more than {MAX_BYTES:,} bytes")
    if any(float(each) <= _LEAST for each in _numbers(value)):
        raise invalid("has a number in it that does not fit in 64 bits")
    return value


def is_deeper_than(limit: int, value: object) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    for child in _children(value):
        yield from _numbers(child)


def _children(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded)]
