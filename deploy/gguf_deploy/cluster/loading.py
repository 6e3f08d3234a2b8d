"""How far a pod is until it answers, from what the server and ``fetch`` say about it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gguf_server.models.sizes import human_bytes, human_seconds

_MAX_LINE = 300


@dataclass(frozen=True, slots=True)
class Load:
    """``percent`` is of the stage; None where there is nothing to count."""

    stage: str
    percent: int | None
    remaining_seconds: float | None
    detail: str = ""


def read_startupz(body: bytes) -> Load | None:
    """None if whoever answers is no server of ours, or has nothing to load."""
    found = _object(body)
    if "stage" in found:
        remaining = found.get("remaining_seconds")
        return Load(
            str(found["stage"]),
            int(found.get("percent") or 0),
            float(remaining) if remaining is not None else None,
            str(found.get("reason") or ""),
        )
    if found.get("status") in ("failed", "draining"):
        return Load(str(found["status"]), None, None, str(found.get("message", "")))
    return None


def read_fetch_log(text: str) -> Load | None:
    """The newest line of progress; ``gguf-server fetch`` writes one a second."""
    for line in reversed(text.splitlines()):
        found = _object(line.encode())
        if "stage" in found:
            return _fetching(found)
    return None


def last_words(text: str) -> str:
    """The last line that is meant for people; of a JSON log its message."""
    for line in reversed(text.splitlines()):
        found = _object(line.encode())
        if found:
            error = found.get("error")
            said = error if isinstance(error, Mapping) else found
            if "message" in said:
                return str(said["message"])[:_MAX_LINE]
        elif line.strip():
            return line.strip()[:_MAX_LINE]
    return ""


def describe(load: Load) -> str:
    """``load 37 %, about 24 s to go``"""
    left = load.remaining_seconds
    parts = (
        load.stage if load.percent is None else f"{load.stage} {load.percent} %",
        load.detail,
        "" if left is None else f"about {human_seconds(left)} to go",
    )
    return ", ".join(part for part in parts if part)


def _fetching(found: Mapping[str, Any]) -> Load:
    there, total = found.get("num_bytes") or 0, found.get("total_bytes") or 0
    rate, stage = found.get("bytes_per_second") or 0, f"fetch: {found['stage']}"
    if not total:
        return Load(stage, None, None, str(found.get("detail") or ""))
    remaining = (total - there) / rate if rate else None
    pace = f"{human_bytes(there)} of {human_bytes(total)}"
    return Load(stage, int(100 * there / total), remaining, pace)


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
