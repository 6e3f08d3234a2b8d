"""The terminal law, as a client can check it: one end for each request that was accepted. Pure."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

DONE = "[DONE]"

# ``unreached``: no byte of an answer came.
Kind = Literal["finished", "failed", "refused", "left", "unreached", "broken"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended, for its client; ``detail`` is an error's code or what is wrong."""

    kind: Kind
    detail: str = ""


class StreamLaw:
    """Reads the events of one stream."""

    def __init__(self, num_sequences: int) -> None:
        self._num_sequences = num_sequences
        self._ends: Counter[int] = Counter()
        self._last = ""
        self._error = ""
        self._wrong = ""

    def push(self, event: str) -> None:
        if self._last:
            self._wrong = self._wrong or f"{event[:80]!r} came after {self._last}"
        elif event == DONE:
            self._last = DONE
        else:
            self._read(json.loads(event))

    def ending(self) -> Ending:
        """Of a stream that the server ended."""
        if self._wrong:
            return Ending("broken", self._wrong)
        if self._error:
            return Ending("failed", self._error)
        if self._last != DONE:
            return Ending("broken", "the stream ended without a terminal event")
        if self._ends != dict.fromkeys(range(self._num_sequences), 1):
            return Ending("broken", f"finish reasons by index: {dict(self._ends)}")
        return Ending("finished")

    def _read(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self._last, self._error = "an error", event["error"]["code"]
            return
        for choice in event["choices"]:
            if self._ends[choice["index"]]:
                self._wrong = f"sequence {choice['index']} went on after its end"
            if choice["finish_reason"]:
                self._ends[choice["index"]] += 1


def whole(status: int, body: bytes, num_sequences: int) -> Ending:
    """Of an answer in one piece."""
    try:
        answer = json.loads(body)
    except ValueError:
        return Ending("broken", f"{status} with {body[:80]!r}")
    if status != 200:
        code = answer.get("error", {}).get("code")
        return Ending("refused", code) if code else Ending("broken", f"{status} without a code")
    choices = answer.get("choices")
    if (
        choices is not None
        and [bool(c["finish_reason"]) for c in choices] != [True] * num_sequences
    ):
        return Ending("broken", f"{len(choices)} choices of {num_sequences}, or one without an end")
    return Ending("finished")
