"""A hub with one file, and what it takes to fetch it."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gguf_server.models.listing import RemoteFile
from gguf_server.models.transfer.download import download
from gguf_server.models.transfer.lease import hold
from tests.hub.server import Hub
from tests.server.models.transfer.worker import Direct

NAME = "m-Q8_0.gguf"


@dataclass
class Shop:
    """One file of some megabytes, for sale."""

    hub: Hub
    file: RemoteFile
    content: bytes
    root: Path
    client: httpx2.Client

    @property
    def url(self) -> str:
        commit = self.hub.repositories["org/repo"].refs["main"]
        return f"{self.hub.cdn_url}/blobs/org/repo/{commit}/{NAME}"

    @property
    def target(self) -> Path:
        return self.root / NAME

    @property
    def num_bytes_moved(self) -> int:
        return self.hub.bytes_sent(NAME)

    def fetch(self, **options: Any) -> list[int]:
        """Into ``target``; what was reported."""
        reports: list[int] = []
        with hold(self.root / ".lease", lambda _: None) as lease:
            source = Direct(self.client, self.url)
            partials = self.root / ".partial"
            found = download(
                source,
                self.file,
                self.target,
                partials=partials,
                lease=lease,
                report=reports.append,
                **options,
            )
        assert found == self.file.sha256
        assert self.target.read_bytes() == self.content
        assert not any(partials.iterdir())
        return reports


def shop_of(tmp_path: Path, size_bytes: int) -> Iterator[Shop]:
    content = random.Random(1).randbytes(size_bytes)
    (tmp_path / "content").write_bytes(content)
    root = tmp_path / "models"
    root.mkdir()
    sha256 = hashlib.sha256(content).hexdigest()
    with Hub() as hub, httpx2.Client(trust_env=False) as client:
        hub.repository("org/repo", {NAME: tmp_path / "content"})
        yield Shop(hub, RemoteFile(NAME, size_bytes, sha256=sha256), content, root, client)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    yield from shop_of(tmp_path, 5_000_001)


@pytest.fixture
def big_shop(tmp_path: Path) -> Iterator[Shop]:
    yield from shop_of(tmp_path, 64_000_000)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is tested as a function; here it only costs time."""
    monkeypatch.setattr("gguf_server.models.transfer.arrival.pause_seconds", lambda *_: 0.001)
