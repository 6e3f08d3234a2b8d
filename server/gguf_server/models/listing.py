"""What a repository on the hub holds, as plain data: ``hub`` makes it, others read it."""

from msgspec import Struct


class RemoteFile(Struct, frozen=True):
    """One file at one commit.

    ``path`` is relative, with ``/``, and stays inside its directory. Of the two hashes one is
    known: ``sha256`` for files in large-file storage, ``blob_id`` (git's SHA-1) for the others.
    """

    path: str
    size_bytes: int
    sha256: str = ""
    blob_id: str = ""


class Repository(Struct, frozen=True, kw_only=True):
    """One repository at one commit.

    ``base_models`` are what its card or its tags name as such; ``num_params`` is what the hub
    counted in its GGUF files, if it did.
    """

    name: str
    commit: str
    files: tuple[RemoteFile, ...]
    base_models: tuple[str, ...] = ()
    license: str = ""
    num_params: int | None = None
