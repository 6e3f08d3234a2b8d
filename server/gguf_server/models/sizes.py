"""Bytes, times and counts as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000  # as the hub and the makers of disks count


def human_count(count: int) -> str:
    """``18.4 B``, as people count parameters."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def human_seconds(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h``"""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def gibibytes(count: float) -> str:
    """``22.5 GiB``: memory is counted so, and a card of 24 GB has 22.5."""
    return f"{count / (1 << 30):.1f} GiB"


def human_bytes(count: float) -> str:
    """``18.2 GB``"""
    for unit in _UNITS[:-1]:
        if count < _THOUSAND:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= _THOUSAND
    return f"{count:.1f} {_UNITS[-1]}"
