"""The model directory: what is in it, what of it may be served, and what is written into it."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gguf_server.errors import ModelUnavailable, StorageUnusable
from gguf_server.models.candidates import Candidate
from gguf_server.models.choice import Wanted, choose
from gguf_server.models.meter import Meter
from gguf_server.models.reference import Reference
from gguf_server.models.store.layout import (
    MANIFEST_NAME,
    PARTIALS_NAME,
    refuse_links,
    revision_directories,
)
from gguf_server.models.store.manifest import (
    Manifest,
    StoredFile,
    StoredModel,
    merged,
    read_manifest,
    write_manifest,
)
from gguf_server.models.store.revision import Revision, last_used, touch
from gguf_server.models.store.verification import Check, check, check_again

_SHORTEST_COMMIT = 7


@dataclass(frozen=True, slots=True)
class Stored:
    """A model that is here and verified. ``path`` is the file to serve."""

    path: Path
    directory: Path
    repository: str
    commit: str
    label: str
    size_bytes: int
    chat_template: Path | None


@dataclass(frozen=True, slots=True)
class Missing:
    """It is not, and why, as a clause: ``org/repo was never fetched``."""

    reason: str


class Store:
    """Everything below ``root``. Only a fetch that holds the repository's lease writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def revision_directory(self, repository: str, commit: str) -> Path:
        return self.root / repository / commit

    def revisions(self) -> list[Revision]:
        """All whose manifest can be read."""
        found = (self.revision(each) for each in revision_directories(self.root))
        return [each for each in found if each is not None]

    def revision(self, directory: Path) -> Revision | None:
        """None without a manifest, or with one that is not of ours or of this directory."""
        manifest = read_manifest(directory)
        if manifest is None:
            return None
        is_here = self.revision_directory(manifest.repository, manifest.commit) == directory
        return Revision(directory, manifest, last_used(directory)) if is_here else None

    def find(
        self, reference: Reference, wanted: Wanted, meter: Meter | None = None
    ) -> Stored | Missing:
        """What the reference means here, without the hub.

        Files are read only where their times have changed; ``meter`` shows how far that is.
        """
        revision = self._meant(reference)
        if revision is None:
            return Missing(self._not_here(reference))
        manifest = revision.manifest
        try:
            choice = choose(
                manifest.repository, manifest.listing, wanted, num_params=manifest.num_params
            )
        except ModelUnavailable as exc:
            return Missing(exc.message)
        return self.verified(revision, choice.candidate, meter)

    def verified(
        self, revision: Revision, candidate: Candidate, meter: Meter | None = None
    ) -> Stored | Missing:
        """This model of this revision, if every file of it is what it was."""
        manifest = revision.manifest
        model = next((each for each in manifest.models if each.paths == candidate.paths), None)
        if model is None:
            labels = ", ".join(each.label or each.paths[0] for each in manifest.models)
            name = candidate.label or candidate.paths[0]
            return Missing(f"{name} of {manifest.repository} is not here, only {labels or 'none'}")
        template = manifest.tokenizer.chat_template if manifest.tokenizer else ""
        needed = [*model.paths, template] if template else model.paths
        if fault := self._fault(revision, needed, meter or Meter(lambda _: None)):
            return Missing(fault)
        return _stored(revision, model, template)

    def begin(self, directory: Path) -> None:
        """Make a revision's directory, as ours: what a fetch leaves there may be cleaned away."""
        refuse_links(self.root, directory)
        refuse_links(self.root, directory.parent / PARTIALS_NAME)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            touch(directory)
        except OSError as exc:
            where = exc.filename or directory
            msg = f"{where} cannot be written: {exc.strerror}; name another place for models"
            raise StorageUnusable(msg) from None

    def publish(self, manifest: Manifest) -> None:
        """Written last: from now on it is served. What an earlier fetch put there stays."""
        directory = self.revision_directory(manifest.repository, manifest.commit)
        earlier = self.revision(directory)
        whole = merged(earlier.manifest, manifest) if earlier else manifest
        try:
            write_manifest(directory, whole)
        except OSError as exc:
            msg = f"{directory / MANIFEST_NAME} cannot be written: {exc.strerror}"
            raise StorageUnusable(msg) from None

    def stamp(self, directory: Path) -> bool:
        """Note that it is used now; False where nothing can be written."""
        try:
            touch(directory)
        except OSError:
            return False
        return True

    # --- finding -----------------------------------------------------------------------------

    def named_now(self, repository: str, name: str) -> float:
        """The time to note for a branch or tag: later than all that are noted, whatever the clock
        of the machine says that noted them.
        """
        noted = [each.manifest.revisions.get(name, 0.0) for each in self._revisions_of(repository)]
        return max(time.time(), max(noted, default=0.0) + 1.0)

    def _revisions_of(self, repository: str) -> list[Revision]:
        return [each for each in self.revisions() if each.manifest.repository == repository]

    def _meant(self, reference: Reference) -> Revision | None:
        """The pinned commit; else the one that the hub named last for this branch or tag."""
        revisions = self._revisions_of(reference.repository)
        wanted = reference.revision_or_default
        named = [each for each in revisions if wanted in each.manifest.revisions]
        if named:
            return max(named, key=lambda each: each.manifest.revisions[wanted])
        if len(wanted) < _SHORTEST_COMMIT:
            return None
        pinned = [each for each in revisions if each.manifest.commit.startswith(wanted)]
        return pinned[0] if len(pinned) == 1 else None

    def _not_here(self, reference: Reference) -> str:
        others = self._revisions_of(reference.repository)
        if not others:
            for path in (self.root / reference.repository).glob(f"*/{MANIFEST_NAME}"):
                return f"{path} is damaged or of a later version"
            return f"{reference.repository} was never fetched into {self.root}"
        known = sorted({name for each in others for name in each.manifest.revisions})
        return (
            f"revision {reference.revision_or_default} of {reference.repository} was never fetched"
            f" into {self.root}, only {', '.join(known) or others[0].manifest.commit}"
        )

    def _fault(self, revision: Revision, paths: Sequence[str], meter: Meter) -> str:
        """Why these files cannot be served; empty if they can."""
        files = revision.files_of(paths)
        if len(files) != len(set(paths)):
            return f"the manifest in {revision.directory} lacks files of the model"
        touched = []
        for file in files:
            state = check(revision.directory, file)
            if state is Check.TOUCHED:
                meter.begin("check", file.path, total_bytes=file.size_bytes)
            if state is Check.TOUCHED and check_again(revision.directory, file, meter.reach):
                touched.append(file)
            elif state is not Check.VERIFIED:
                where = revision.directory / file.path
                return f"{where} is {'gone' if state is Check.MISSING else 'broken'}"
        if touched:
            self._note_times(revision, touched)
        return ""

    def _note_times(self, revision: Revision, touched: Sequence[StoredFile]) -> None:
        """They were read and are right: the next start need not read them again."""
        files = tuple(
            msgspec.structs.replace(
                file, modified_ns=(revision.directory / file.path).stat().st_mtime_ns
            )
            if file in touched
            else file
            for file in revision.manifest.files
        )
        with contextlib.suppress(OSError):  # a volume may be read-only
            write_manifest(
                revision.directory, msgspec.structs.replace(revision.manifest, files=files)
            )


def _stored(revision: Revision, model: StoredModel, template: str) -> Stored:
    return Stored(
        path=revision.directory / model.paths[0],
        directory=revision.directory,
        repository=revision.manifest.repository,
        commit=revision.manifest.commit,
        label=model.label,
        size_bytes=model.size_bytes,
        chat_template=revision.directory / template if template else None,
    )
