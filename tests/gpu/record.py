"""What was measured so far, in a file that grows by one cell at a time."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.gpu.card import Card

Result = dict[str, Any]


class Record:
    """Written whole after each cell: a call that is killed loses one cell at most."""

    def __init__(self, path: Path, content: Result) -> None:
        self.path = path
        self.content = content

    @classmethod
    def open(cls, folder: Path, card: Card, today: str) -> "Record":
        """Of this card and day. A new day is a new record: cards differ, and so do drivers."""
        path = folder / f"{card.slug}-{today}.json"
        if path.exists():
            return cls(path, json.loads(path.read_text()))
        return cls(path, {"card": asdict(card), "date": today, "cells": {}})

    @property
    def cells(self) -> dict[str, Result]:
        found: dict[str, Result] = self.content["cells"]
        return found

    def has(self, key: str) -> bool:
        return "failed" not in self.cells.get(key, {"failed": "not yet"})

    def add(self, key: str, seconds: float, result: Result) -> None:
        """What was measured before stays where this time it failed."""
        if "failed" in result and self.has(key):
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self.cells[key] = {"at": at, "seconds": round(seconds, 1), **result}
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n")
        partial.rename(self.path)
