"""The hash of a file that is still arriving: it follows the contiguous front."""

import hashlib
import os

from gguf_server.models.listing import RemoteFile

_READ_BYTES = 1 << 20


class Digest:
    """sha256 of all, and git's blob id where that is what the hub's record has."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._blob = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self.num_bytes = 0

    def follow(self, number: int, frontier: int) -> bool:
        """Read a stretch of what is there; False when there is nothing new."""
        wanted = min(_READ_BYTES, frontier - self.num_bytes)
        if wanted <= 0:
            return False
        count = os.preadv(number, [self._buffer[:wanted]], self.num_bytes)
        self._sha256.update(self._buffer[:count])
        if not self._file.sha256:
            self._blob.update(self._buffer[:count])
        self.num_bytes += count
        return count > 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def mismatch(self) -> str:
        """How it differs from the hub's record; empty if it does not."""
        found, wanted, name = self.sha256, self._file.sha256, "sha256"
        if not wanted:
            found, wanted, name = self._blob.hexdigest(), self._file.blob_id, "blob id"
        return "" if found == wanted else f"{name} {found}, expected {wanted}"
