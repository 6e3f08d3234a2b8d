"""Frames on a byte stream: four bytes of length, big-endian, then msgpack. Sans I/O."""

from typing import Generic, TypeVar

import msgspec

MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH_BYTES = 4

_encoder = msgspec.msgpack.Encoder()

T = TypeVar("T")


class FramingError(Exception):
    """The peer does not speak this protocol; the stream cannot be used any more."""


def encode(message: msgspec.Struct) -> bytes:
    """One message as a frame."""
    payload = _encoder.encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        msg = f"a message of {len(payload)} bytes is over the limit of {MAX_FRAME_BYTES}"
        raise FramingError(msg)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


class FrameReader(Generic[T]):
    """Turns the bytes that arrive into the messages of one union, in order."""

    def __init__(self, union: type[T]) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(union)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Every message completed by ``data``."""
        self._buffer += data
        messages = []
        start = 0
        while (end := self._frame_end(start)) is not None:
            messages.append(self._decode(start + _LENGTH_BYTES, end))
            start = end
        del self._buffer[:start]
        return messages

    def _decode(self, start: int, end: int) -> T:
        with memoryview(self._buffer) as view, view[start:end] as payload:
            try:
                return self._decoder.decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
                msg = f"a frame of {end - start} bytes cannot be read: {exc}"
                raise FramingError(msg) from exc

    def _frame_end(self, start: int) -> int | None:
        if len(self._buffer) - start < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[start : start + _LENGTH_BYTES], "big")
        if length > MAX_FRAME_BYTES:
            msg = f"a frame announces {length} bytes, over the limit of {MAX_FRAME_BYTES}"
            raise FramingError(msg)
        end = start + _LENGTH_BYTES + length
        return end if len(self._buffer) >= end else None
