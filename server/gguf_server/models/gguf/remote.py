"""Bytes of a file on a hub, a range at a time."""

import random
import time

import httpx2

from gguf_server.errors import HubUnreachable
from gguf_server.models.retry import pause_seconds
from gguf_server.models.source import Location, Source

_MAX_ATTEMPTS = 4
_OK, _PARTIAL = 200, 206


class RemoteBytes:
    """A ``ByteSource``: what is asked for is moved, and no more. ``num_moved`` counts."""

    def __init__(self, source: Source, name: str, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.num_moved = 0
        self._source = source
        self._location: Location | None = None

    def read(self, offset: int, count: int) -> bytes:
        """Raises ``HubUnreachable`` after some attempts."""
        fault = ""
        for attempt in range(_MAX_ATTEMPTS):
            if attempt:
                time.sleep(pause_seconds(attempt, None, random.random()))  # noqa: S311
            try:
                data, fault = self._ask(offset, count)
            except httpx2.TransportError as exc:
                fault = f"{type(exc).__name__}: {exc}"
                continue
            if not fault:
                return data
            self._location = None  # a signed address may have expired
        msg = f"{self.name} cannot be read from the hub: {fault}; try again"
        raise HubUnreachable(msg)

    def _ask(self, offset: int, count: int) -> tuple[bytes, str]:
        """The bytes, or what was wrong with the answer."""
        if self._location is None:
            self._location = self._source.locate()
        location = self._location
        headers = {
            **location.headers,
            "accept-encoding": "identity",
            "range": f"bytes={offset}-{offset + count - 1}",
        }
        with self._source.client.stream(
            "GET", location.url, headers=headers, follow_redirects=False
        ) as response:
            if response.status_code == _OK and offset == 0:
                return self._first_bytes(response, count), ""
            if response.status_code != _PARTIAL:
                return b"", f"it answered {response.status_code} where a range was asked for"
            expected = f"bytes {offset}-{offset + count - 1}/{self.size_bytes}"
            if response.headers.get("content-range") != expected:
                return b"", "it sent another range than was asked for"
            data = self._first_bytes(response, count)
            return data, "" if len(data) == count else "it sent less than was asked for"

    def _first_bytes(self, response: httpx2.Response, count: int) -> bytes:
        """And no more: without ranges the rest of the file would follow."""
        parts, missing = [], count
        for chunk in response.iter_raw():
            self.num_moved += len(chunk)
            parts.append(chunk[:missing])
            missing -= len(parts[-1])
            if not missing:
                break
        return b"".join(parts)
