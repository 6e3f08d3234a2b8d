"""Hashes of files as the hub records them: sha256 of large ones, git's blob id of the others."""

import hashlib
from pathlib import Path

from gguf_server.models.listing import RemoteFile
from gguf_server.models.progress import CountBytes

_READ_BYTES = 1 << 20


def matches(path: Path, file: RemoteFile, report: CountBytes = lambda _: None) -> bool:
    """Is this the file that the hub's record describes?"""
    if path.stat().st_size != file.size_bytes:
        return False
    if file.sha256:
        return sha256_of(path, report) == file.sha256
    return blob_id_of(path) == file.blob_id


def sha256_of(path: Path, report: CountBytes = lambda _: None) -> str:
    """``report`` is told how many bytes have been read so far."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_BYTES))
    num_bytes = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            num_bytes += count
            report(num_bytes)
    return digest.hexdigest()


def blob_id_of(path: Path) -> str:
    """git's name for a file of this content."""
    content = path.read_bytes()
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
