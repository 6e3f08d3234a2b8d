"""Fills a hub with repositories of small files."""

from pathlib import Path
from typing import Any

from tests.hub.content import Repository
from tests.hub.server import Hub
from tests.server.models.small_models import write_model


class Shop:
    """Every model has weights of its own."""

    def __init__(self, hub: Hub, root: Path) -> None:
        self._hub = hub
        self._root = root
        self._count = 0

    def text(self, content: str) -> Path:
        path = self._path()
        path.write_text(content)
        return path

    def model(self, **about: Any) -> Path:
        path = self._path()
        return write_model(path, seed=self._count, **about)

    def offer(self, name: str, files: dict[str, Path], **about: Any) -> Repository:
        return self._hub.repository(name, files, **about)

    def _path(self) -> Path:
        self._count += 1
        return self._root / str(self._count)
