"""A process that downloads one file from a hub of ours, to be killed: arguments as JSON."""

import json
import sys
from pathlib import Path

import httpx2

from gguf_server.models.listing import RemoteFile
from gguf_server.models.source import Location
from gguf_server.models.transfer.download import download
from gguf_server.models.transfer.lease import hold


class Direct:
    """A file at a known place."""

    def __init__(self, client: httpx2.Client, url: str) -> None:
        self.client = client
        self._url = url

    def locate(self) -> Location:
        return Location(self._url, {})


def main(url: str, path: str, size_bytes: int, sha256: str, directory: str) -> None:
    root = Path(directory)
    target = root / path
    file = RemoteFile(path, size_bytes, sha256=sha256)
    with httpx2.Client(trust_env=False) as client, hold(root / ".lease", lambda _: None) as lease:
        if not target.exists():
            source = Direct(client, url)
            print("begun", flush=True)
            download(source, file, target, partials=root / ".partial", lease=lease)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
