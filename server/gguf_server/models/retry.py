"""How long to wait before asking again. Pure."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

MAX_FAILURES = 8  # in a row, without a new byte
_FIRST_SECONDS = 0.5
_MOST_SECONDS = 30.0
_MOST_RETRY_AFTER_SECONDS = 300.0  # the hub counts requests in windows of five minutes


def pause_seconds(num_failures: int, retry_after: float | None, chance: float) -> float:
    """After so many failures in a row, at least one. ``chance`` from 0 to 1 spreads the pods of a
    cluster. A server that says when is believed, within limits.
    """
    if retry_after is not None:
        return min(retry_after, _MOST_RETRY_AFTER_SECONDS) + chance
    return chance * min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(num_failures, 10))


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """From seconds or from a date; None where there is neither."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
