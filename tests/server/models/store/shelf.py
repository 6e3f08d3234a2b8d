"""A model directory with models in it, as a fetch would leave them."""

import hashlib
from pathlib import Path

from gguf_server.models.listing import RemoteFile
from gguf_server.models.store.manifest import Manifest, StoredModel, Tokenizer, stored_file
from gguf_server.models.store.store import Store


def remote(path: str, content: bytes) -> RemoteFile:
    return RemoteFile(path, len(content), sha256=hashlib.sha256(content).hexdigest())


class Shelf:
    """Puts models into a store."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def put(
        self,
        contents: dict[str, bytes],
        *,
        repository: str = "org/repo",
        commit: str = "a" * 40,
        present: tuple[str, ...] | None = None,
        revisions: dict[str, float] | None = None,
        chat_template: bytes = b"",
    ) -> Path:
        """A revision whose listing is ``contents``; only those ``present`` were fetched."""
        directory = self.store.revision_directory(repository, commit)
        directory.mkdir(parents=True, exist_ok=True)
        listing = tuple(remote(path, content) for path, content in contents.items())
        there = [each for each in listing if present is None or each.path in present]
        for each in there:
            (directory / each.path).parent.mkdir(parents=True, exist_ok=True)
            (directory / each.path).write_bytes(contents[each.path])
        files = [stored_file(directory, each.path, each.sha256) for each in there]
        tokenizer = None
        if chat_template:
            (directory / "tokenizer").mkdir(exist_ok=True)
            path = "tokenizer/chat_template.jinja"
            (directory / path).write_bytes(chat_template)
            files.append(stored_file(directory, path, hashlib.sha256(chat_template).hexdigest()))
            tokenizer = Tokenizer("org/base", "b" * 40, "no template", (path,), path)
        self.store.publish(
            Manifest(
                repository=repository,
                commit=commit,
                revisions={"main": 1.0} if revisions is None else revisions,
                listing=listing,
                models=tuple(_model(each) for each in there),
                files=tuple(files),
                tokenizer=tokenizer,
            )
        )
        return directory


def _model(file: RemoteFile) -> StoredModel:
    label = file.path.removesuffix(".gguf").rpartition("-")[2]
    return StoredModel(label, (file.path,), file.size_bytes)
