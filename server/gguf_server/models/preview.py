"""What a fetch would do: asked of the hub, nothing written, of the model only its header moved."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gguf_server.models.choice import Choice, Wanted, choose
from gguf_server.models.delivery import verified_files
from gguf_server.models.gguf.description import describe
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.remote import RemoteBytes
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.reference import Reference
from gguf_server.models.store.layout import TOKENIZER_NAME
from gguf_server.models.store.store import Store
from gguf_server.models.tokenizer import (
    Mode,
    NoTemplate,
    base_models,
    small_files,
    template_files,
    tokenizer_files,
)

if TYPE_CHECKING:
    from gguf_server.models.hub.client import Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """``files`` are those to download, if none of them lies elsewhere under the model directory:
    that is only looked for in earnest. ``template`` says whose chat template it would be.
    """

    repository: str
    commit: str
    label: str
    size_bytes: int
    reason: str
    files: tuple[RemoteFile, ...]
    template: str

    @property
    def download_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def preview(
    reference: Reference, wanted: Wanted, store: Store, *, tokenizer: Mode = "auto"
) -> Preview:
    """Raises a ``StartupError``, as the fetch would."""
    from gguf_server.models.hub.client import Hub  # noqa: PLC0415  (a quarter of a second)

    with Hub() as hub:
        repository = hub.repository(reference.repository, reference.revision_or_default)
        files, num_params = repository.files, repository.num_params
        choice = choose(repository.name, files, wanted, num_params=num_params)
        template, beside = _template(hub, repository, choice, tokenizer)
    here = verified_files(store, store.revision_directory(reference.repository, repository.commit))
    needed = (*small_files(files), *choice.candidate.files)
    return Preview(
        repository=repository.name,
        commit=repository.commit,
        label=choice.candidate.label,
        size_bytes=choice.candidate.size_bytes,
        reason=choice.reason,
        files=(
            *(file for file in needed if file.path not in here),
            *(file for file in beside if f"{TOKENIZER_NAME}/{file.path}" not in here),
        ),
        template=template,
    )


def _template(
    hub: "Hub", repository: Repository, choice: Choice, mode: Mode
) -> tuple[str, tuple[RemoteFile, ...]]:
    """Whose it would be, and which files would come with it."""
    if mode == "never":
        return "the model file's own, if it has one", ()
    first = choice.candidate.files[0]
    source = hub.source(repository.name, repository.commit, first)
    about = describe([read_header(RemoteBytes(source, first.path, first.size_bytes))])
    if mode == "auto" and about.chat_template:
        return "the model file's own", ()
    if mode == "auto" and template_files(repository.files):
        return f"the one beside the model file in {repository.name}", ()
    try:
        base = next(base_models(repository, about.base_models, hub.current))
    except NoTemplate as exc:
        return f"none: {exc}", ()
    return f"that of {base.name}", tokenizer_files(base.files)
