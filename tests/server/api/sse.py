"""Reads what a stream of events says."""

import json
from typing import Any


def events_in(body: str) -> list[str]:
    """The data of each event, in order."""
    blocks = body.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def events_of(body: str) -> list[dict[str, Any]]:
    """The events of a stream that ended as it should."""
    *events, done = events_in(body)
    assert done == "[DONE]"
    return [json.loads(event) for event in events]
