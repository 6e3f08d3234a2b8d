"""What the answer to a request for a range means. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from gguf_server.models.retry import retry_after_seconds

_OK, _PARTIAL = 200, 206
_MOVED_ON = (401, 403, 404, 410)  # a signed address that has expired looks so
_REDIRECTS = range(300, 400)
_NUMBER = "[0-9]{1,18}"
_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)")


class Meaning(Enum):
    """What to do about it."""

    PART = "what was asked for"
    WHOLE = "the file from its start: ranges are not served"
    CHANGED = "another file than before"
    ELSEWHERE = "ask the hub where it is now"
    LATER = "ask again later"


@dataclass(frozen=True, slots=True)
class Answer:
    """``detail`` says it for people."""

    meaning: Meaning
    detail: str = ""
    etag: str = ""
    retry_after_seconds: float | None = None


def understand(
    status: int, headers: Mapping[str, str], wanted: range, size_bytes: int, etag: str
) -> Answer:
    """``wanted`` was asked for, of a file that the server called ``etag`` before (if it said)."""
    theirs = headers.get("etag", "")
    if status == _PARTIAL:
        found = _RANGE.fullmatch(headers.get("content-range", ""))
        if not found or int(found[1]) != wanted.start or int(found[2]) >= wanted.stop:
            return Answer(Meaning.LATER, "it sent another range than was asked for")
        if found[3] not in ("*", str(size_bytes)):
            return Answer(Meaning.CHANGED, f"its size is {found[3]}, not {size_bytes}")
        if etag and theirs and theirs != etag:
            return Answer(Meaning.CHANGED, "its ETag has changed")
        return Answer(Meaning.PART, etag=theirs)
    if status == _OK:
        if etag and theirs != etag:
            return Answer(Meaning.CHANGED, "its ETag has changed")
        length = headers.get("content-length", "")
        if length and length != str(size_bytes):
            return Answer(Meaning.LATER, f"it sent {length} bytes of something else")
        return Answer(Meaning.WHOLE, etag=theirs)
    detail = f"it answered {status}"
    if status in _MOVED_ON or status in _REDIRECTS:
        return Answer(Meaning.ELSEWHERE, detail)
    return Answer(
        Meaning.LATER,
        detail,
        retry_after_seconds=retry_after_seconds(headers, datetime.now(UTC)),
    )
