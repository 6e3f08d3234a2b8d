"""Times as people say them."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def ago(seconds: float) -> str:
    """``3 hours ago``"""
    for unit, length in (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE)):
        count = int(seconds // length)
        if count > 0:  # clocks differ: somebody else's present may be our future
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
