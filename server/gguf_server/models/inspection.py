"""What a model is, without having it: its header, here or on the hub."""

from collections.abc import Sequence
from dataclasses import dataclass

from gguf_server.errors import NotFetched
from gguf_server.models.choice import Wanted, choose
from gguf_server.models.gguf.description import Description, describe
from gguf_server.models.gguf.header import Header
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.remote import RemoteBytes
from gguf_server.models.gguf.split import check_split, read_headers
from gguf_server.models.reference import Reference
from gguf_server.models.store.store import Store, Stored


@dataclass(frozen=True, slots=True)
class Inspected:
    """``reason`` says why it is this one, ``license`` and ``base_models`` what its page says,
    ``template_of`` whose chat template was fetched for it.
    """

    name: str
    description: Description
    commit: str = ""
    reason: str = ""
    license: str = ""
    base_models: Sequence[str] = ()
    template_of: str = ""


def inspect(
    reference: Reference, wanted: Wanted, store: Store, *, offline: bool = False
) -> Inspected:
    """The verified copy that is here; else of the one on the hub the header."""
    here = store.find(reference, wanted)
    if isinstance(here, Stored):
        return _here(store, here)
    if offline:
        msg = f"{here.reason}; without --offline the hub would be asked"
        raise NotFetched(msg)
    return _remote(reference, wanted)


def _here(store: Store, stored: Stored) -> Inspected:
    revision = store.revision(stored.directory)
    tokenizer = revision.manifest.tokenizer if revision else None
    return Inspected(
        f"{stored.repository}:{stored.label or stored.path.name}",
        describe(read_headers(stored.path)),
        stored.commit,
        f"is here, in {stored.directory}",
        license=revision.manifest.license if revision else "",
        template_of=tokenizer.repository if tokenizer else "",
    )


def _remote(reference: Reference, wanted: Wanted) -> Inspected:
    from gguf_server.models.hub.client import Hub  # noqa: PLC0415  (takes a quarter of a second)

    with Hub() as hub:
        repository = hub.repository(reference.repository, reference.revision_or_default)
        choice = choose(repository.name, repository.files, wanted, num_params=repository.num_params)
        headers: list[Header] = []
        for file in choice.candidate.files:
            source = hub.source(repository.name, repository.commit, file)
            headers.append(read_header(RemoteBytes(source, file.path, file.size_bytes)))
    check_split(choice.candidate.paths[0], headers)
    return Inspected(
        f"{repository.name}:{choice.candidate.label or choice.candidate.paths[0]}",
        describe(headers),
        repository.commit,
        choice.reason,
        repository.license,
        repository.base_models,
    )
