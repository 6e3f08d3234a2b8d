"""How a file is cut: small enough that the hash is never far behind, large enough to be fast."""

_LEAST_BYTES = 1 << 20
_MOST_BYTES = 16 << 20
_USUAL_COUNT = 16


def piece_size(size_bytes: int) -> int:
    """Bytes of each piece of a file but the last."""
    megabytes = -(-size_bytes // _USUAL_COUNT // _LEAST_BYTES)
    return min(_MOST_BYTES, max(1, megabytes) * _LEAST_BYTES)


def num_pieces(size_bytes: int, piece_bytes: int) -> int:
    return -(-size_bytes // piece_bytes)


def piece_range(index: int, size_bytes: int, piece_bytes: int) -> range:
    """The offsets of one piece."""
    return range(index * piece_bytes, min(size_bytes, (index + 1) * piece_bytes))
