"""``manifest.json``: written last and atomically, so what it lists is there and was verified."""

from msgspec import Struct

from gguf_server.models.foreign import is_safe_path
from gguf_server.models.listing import RemoteFile

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


def is_sound(manifest: Manifest) -> bool:
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
