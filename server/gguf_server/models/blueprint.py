"""What there is to know of a model before it is here: enough for llama.cpp to count its memory."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gguf_server.errors import NotFetched
from gguf_server.models.choice import Choice, Wanted, choices
from gguf_server.models.gguf.description import Description, describe
from gguf_server.models.gguf.remote import RemoteBytes
from gguf_server.models.gguf.sparse import write_sparse
from gguf_server.models.gguf.split import check_split, read_headers
from gguf_server.models.listing import Repository
from gguf_server.models.reference import Reference
from gguf_server.models.store.store import Missing, Store, Stored

if TYPE_CHECKING:
    from gguf_server.models.hub.client import Hub


@dataclass(frozen=True, slots=True)
class Blueprint:
    """``path`` is a file that llama.cpp can measure; it may be gone when the plan is made.

    ``reference`` names the model for good, with its commit; of a file it is the path. ``name`` is
    what it was called, as the API will.
    """

    path: Path
    reference: str
    name: str
    commit: str
    label: str
    reason: str
    size_bytes: int
    description: Description


@contextmanager
def blueprints(
    source: Reference | Path,
    wanted: Wanted,
    store: Store,
    *,
    offline: bool = False,
    every: bool = False,
) -> Iterator[Iterator[Blueprint]]:
    """Of the models that would do, best first; each is made when it is asked for.

    A file is the only one, and so is what is here and verified unless ``every`` one is of
    interest. Raises a ``StartupError``.
    """
    if isinstance(source, Path):
        yield iter([_of_file(source)])
        return
    here = store.find(source, wanted)
    if isinstance(here, Stored) and (offline or not every):
        yield iter([_of_stored(source, here)])
    elif offline and isinstance(here, Missing):
        raise NotFetched(f"{here.reason}; without --offline the hub would be asked")
    else:
        with _remote(source, wanted) as found:
            yield found


def _of_file(path: Path) -> Blueprint:
    description = describe(read_headers(path))
    absolute = str(path.absolute())
    reason = f"{path}: the file that was asked for"
    return Blueprint(
        path=path,
        reference=absolute,
        name=path.name.removesuffix(".gguf"),
        commit="",
        label=description.label,
        reason=reason,
        size_bytes=description.size_bytes,
        description=description,
    )


def _of_stored(source: Reference, stored: Stored) -> Blueprint:
    blueprint = _of_file(stored.path)
    selector = stored.label or stored.path.relative_to(stored.directory).as_posix()
    return replace(
        blueprint,
        reference=str(Reference(stored.repository, stored.commit, selector)),
        name=source.name,
        commit=stored.commit,
        label=stored.label,
        reason=f"{selector}: is here, verified",
        size_bytes=stored.size_bytes,
    )


@contextmanager
def _remote(source: Reference, wanted: Wanted) -> Iterator[Iterator[Blueprint]]:
    from gguf_server.models.hub.client import Hub  # noqa: PLC0415  (takes a quarter of a second)

    with ExitStack() as stack:
        hub = stack.enter_context(Hub())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gguf-plan-")))
        repository = hub.repository(source.repository, source.revision_or_default)
        found = choices(repository.name, repository.files, wanted, num_params=repository.num_params)
        yield (_drawn(hub, repository, source, choice, directory) for choice in found)


def _drawn(
    hub: "Hub", repository: Repository, source: Reference, choice: Choice, directory: Path
) -> Blueprint:
    """Its header moved, and nothing else."""
    candidate = choice.candidate
    headers = []
    for file in candidate.files:
        remote = hub.source(repository.name, repository.commit, file)
        path = directory / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        headers.append(write_sparse(RemoteBytes(remote, file.path, file.size_bytes), path))
    check_split(candidate.paths[0], headers)
    selector = source.file or candidate.label or candidate.paths[0]
    return Blueprint(
        path=directory / candidate.paths[0],
        reference=str(Reference(source.repository, repository.commit, selector)),
        name=source.name,
        commit=repository.commit,
        label=candidate.label,
        reason=choice.reason,
        size_bytes=candidate.size_bytes,
        description=describe(headers),
    )
