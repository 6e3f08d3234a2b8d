"""``manifest.json``: written last and atomically, so what it lists is there and was verified."""

import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from gguf_server.models.foreign import is_plain_file, is_safe_path
from gguf_server.models.listing import RemoteFile
from gguf_server.models.store.layout import MANIFEST_NAME
from gguf_server.models.transfer.disk import sync_directory

FORMAT = 1


class StoredFile(Struct, frozen=True):
    """A file whose hash was checked. While size and time are the same, it need not be again."""

    path: str
    size_bytes: int
    sha256: str
    modified_ns: int


class StoredModel(Struct, frozen=True):
    """One quantization that was fetched. The first of ``paths`` is the one to serve."""

    label: str
    paths: tuple[str, ...]
    size_bytes: int


class Tokenizer(Struct, frozen=True):
    """Where the tokenizer files beside a model come from, and why they were needed.

    ``chat_template`` is the path of the template as plain text, empty where there is none.
    """

    repository: str
    commit: str
    reason: str
    paths: tuple[str, ...]
    chat_template: str = ""


class Manifest(Struct, frozen=True, kw_only=True):
    """All that is known of one revision directory. Paths are relative to it.

    ``revisions`` are the branches and tags that meant this commit, with the time (seconds since
    1970) at which the hub last said so. ``listing`` are all GGUF files of the repository at this
    commit, present or not: the choice among them can be repeated without the hub.
    """

    format: int = FORMAT
    repository: str
    commit: str
    revisions: dict[str, float]
    listing: tuple[RemoteFile, ...]
    models: tuple[StoredModel, ...]
    files: tuple[StoredFile, ...]
    tokenizer: Tokenizer | None = None
    license: str = ""
    num_params: int | None = None


_decoder = msgspec.json.Decoder(Manifest)


def read_manifest(directory: Path) -> Manifest | None:
    """None where there is none, or none that is sound."""
    path = directory / MANIFEST_NAME
    try:
        manifest = _decoder.decode(path.read_bytes()) if is_plain_file(path) else None
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    return manifest if manifest is not None and _is_sound(manifest) else None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Whole or not at all, and still there after a power cut."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    temporary = directory / f"{MANIFEST_NAME}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / MANIFEST_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(directory)


def merged(earlier: Manifest, later: Manifest) -> Manifest:
    models = {each.paths: each for each in (*earlier.models, *later.models)}
    files = {each.path: each for each in (*earlier.files, *later.files)}
    return msgspec.structs.replace(
        later,
        revisions=earlier.revisions | later.revisions,
        models=tuple(models.values()),
        files=tuple(files.values()),
        tokenizer=later.tokenizer or earlier.tokenizer,
    )


def stored_file(directory: Path, path: str, sha256: str) -> StoredFile:
    """The entry of a file that has just been verified."""
    status = (directory / path).stat()
    return StoredFile(path, status.st_size, sha256, status.st_mtime_ns)


def _is_sound(manifest: Manifest) -> bool:
    """Of our format, and no path in it leads out of its directory: others may have written it."""
    templates = [manifest.tokenizer.chat_template] if manifest.tokenizer else []
    paths = [
        *(path for model in manifest.models for path in model.paths),
        *(file.path for file in manifest.files),
        *(path for path in templates if path),
    ]
    return (
        manifest.format == FORMAT
        and all(model.paths for model in manifest.models)
        and all(is_safe_path(path) for path in paths)
    )
