"""Bytes and times as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000  # as the hub and the makers of disks count


def human_bytes(count: float) -> str:
    """``18.2 GB``"""
    for unit in _UNITS[:-1]:
        if count < _THOUSAND:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= _THOUSAND
    return f"{count:.1f} {_UNITS[-1]}"
