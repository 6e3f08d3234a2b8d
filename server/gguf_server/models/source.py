"""Where the bytes of one file come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx2


@dataclass(frozen=True, slots=True)
class Location:
    """Where to ask for ranges of the file, for some minutes at least, and with which headers.

    The headers carry the user's token only if the URL is the hub's own.
    """

    url: str
    headers: Mapping[str, str]


class Source(Protocol):
    """One file of a repository. ``locate`` asks the hub again: signed URLs expire."""

    @property
    def client(self) -> httpx2.Client: ...

    def locate(self) -> Location:
        """Raises a ``StartupError`` where the hub refuses, ``httpx2.TransportError`` on the way."""
        ...
