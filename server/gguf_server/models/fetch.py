"""From a reference to a verified file: what is here is kept, what is missing is fetched.

The hub is asked, unless it must not be or need not be: a commit that is verified here can never
mean anything else. An outage of the hub is a warning while something verified is here.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gguf_server.errors import HubUnreachable, ModelFileError, NotFetched
from gguf_server.models.choice import Choice, Wanted, choose
from gguf_server.models.delivery import Delivery, Item
from gguf_server.models.gguf.description import Description, describe
from gguf_server.models.gguf.split import read_headers
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.meter import Meter
from gguf_server.models.progress import Report
from gguf_server.models.reference import Reference
from gguf_server.models.source import Source
from gguf_server.models.store.layout import LEASE_NAME
from gguf_server.models.store.manifest import Manifest, StoredModel, Tokenizer
from gguf_server.models.store.store import Missing, Store, Stored
from gguf_server.models.templates import base_template, own_template
from gguf_server.models.tokenizer import Mode, NoTemplate, small_files
from gguf_server.models.transfer.lease import Holder, hold

if TYPE_CHECKING:
    from gguf_server.models.hub.client import Hub

_NO_TEMPLATE = "the model file has no chat template"
_ASKED_FOR = "it was asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What is here now. ``path`` is the file to serve, ``size_bytes`` are of its whole set."""

    path: Path
    repository: str
    commit: str
    label: str
    size_bytes: int
    chat_template: Path | None
    reason: str
    downloaded_bytes: int = 0
    adopted_bytes: int = 0
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def fetch(
    reference: Reference,
    wanted: Wanted,
    store: Store,
    *,
    tokenizer: Mode = "auto",
    offline: bool = False,
    report: Report,
) -> Fetched:
    """Raises a ``StartupError``; what has arrived until then is kept."""
    started = time.monotonic()
    meter = Meter(report)
    here = store.find(reference, wanted, meter)
    if isinstance(here, Stored) and (offline or (reference.is_pinned and tokenizer != "always")):
        fetched = _found(store, here)
    elif offline and isinstance(here, Missing):
        raise NotFetched(f"{here.reason}; fetch it without --offline")
    else:
        fetched = _asked(reference, wanted, store, here, tokenizer, meter)
    meter.begin("done")
    return replace(fetched, seconds=time.monotonic() - started)


def _found(store: Store, here: Stored, *warnings: str) -> Fetched:
    store.stamp(here.directory)
    return Fetched(
        path=here.path,
        repository=here.repository,
        commit=here.commit,
        label=here.label,
        size_bytes=here.size_bytes,
        chat_template=here.chat_template,
        reason=f"{here.label or here.path.name}: was here, verified",
        warnings=warnings,
    )


def _asked(
    reference: Reference,
    wanted: Wanted,
    store: Store,
    here: Stored | Missing,
    tokenizer: Mode,
    meter: Meter,
) -> Fetched:
    """What the reference means now, if the hub says so."""
    from gguf_server.models.hub.client import Hub  # noqa: PLC0415  (a quarter of a second)

    with Hub() as hub:
        try:
            repository = hub.repository(reference.repository, reference.revision_or_default)
        except HubUnreachable as exc:
            if isinstance(here, Missing):
                raise HubUnreachable(f"{exc.message}; {here.reason}") from exc
            return _found(store, here, f"{exc.message}; what is here will do")
        files, num_params = repository.files, repository.num_params
        choice = choose(repository.name, files, wanted, num_params=num_params)
        meter.tell(choice.reason)
        errand = _Errand(hub, store, reference, repository, choice, tokenizer, meter)
        return errand.run(here)


@dataclass(frozen=True, slots=True)
class _Errand:
    """Gets what was chosen, now that the hub has said what the reference means."""

    hub: "Hub"
    store: Store
    reference: Reference
    repository: Repository
    choice: Choice
    tokenizer: Mode
    meter: Meter

    def run(self, here: Stored | Missing) -> Fetched:
        if isinstance(here, Stored) and here.path == self._paths[0] and self._is_complete(here):
            return _found(self.store, here, *self._renamed())
        self.store.begin(self._directory)
        with hold(self._directory.parent / LEASE_NAME, self._waits_for) as lease:
            return self._bring(
                Delivery(self.store, self._directory, self._source, lease, self.meter)
            )

    def _bring(self, delivery: Delivery) -> Fetched:
        """The small files first: a refusal comes before hours of bytes. The manifest last."""
        files = (*small_files(self.repository.files), *self.choice.candidate.files)
        delivery.bring([Item(self.repository, file, file.path) for file in files])
        tokenizer, warnings = self._tokenizer_for(self._description(), delivery)
        self.store.publish(self._manifest(delivery, tokenizer))
        return replace(
            _found(self.store, self._stored(), *self._renamed(), *warnings),
            reason=self.choice.reason,
            downloaded_bytes=delivery.downloaded_bytes,
            adopted_bytes=delivery.adopted_bytes,
        )

    # --- what is here --------------------------------------------------------------------------

    @property
    def _directory(self) -> Path:
        """Under the name that was asked for: by that it is looked for without the hub."""
        return self.store.revision_directory(self.reference.repository, self.repository.commit)

    @property
    def _paths(self) -> list[Path]:
        return [self._directory / path for path in self.choice.candidate.paths]

    def _stored(self) -> Stored:
        """As it will be found from now on."""
        revision = self.store.revision(self._directory)
        assert revision is not None
        stored = self.store.verified(revision, self.choice.candidate)
        assert isinstance(stored, Stored)
        return stored

    def _is_complete(self, here: Stored) -> bool:
        """Nothing is missing beside the model."""
        if self.tokenizer == "never" or here.chat_template:
            return True
        return self.tokenizer == "auto" and bool(self._description().chat_template)

    def _description(self) -> Description:
        """Raises ``ModelFileError`` for what is no model that can be served."""
        description = describe(read_headers(self._paths[0]))
        if description.unservable:
            name = f"{self.choice.candidate.paths[0]} of {self.repository.name}"
            raise ModelFileError(f"{name} {description.unservable}")
        return description

    # --- what goes with it ---------------------------------------------------------------------

    def _tokenizer_for(
        self, description: Description, delivery: Delivery
    ) -> tuple[Tokenizer | None, tuple[str, ...]]:
        """What was brought beside the model; a warning where nobody has a template."""
        if self.tokenizer == "never" or (self.tokenizer == "auto" and description.chat_template):
            return None, ()
        reason = _NO_TEMPLATE if self.tokenizer == "auto" else _ASKED_FOR
        try:
            if self.tokenizer == "auto" and (
                own := own_template(delivery, self.repository, reason)
            ):
                return own, ()
            return base_template(
                delivery, self.repository, description.base_models, self.hub.current, reason
            ), ()
        except NoTemplate as exc:
            name = self.choice.candidate.paths[0]
            hint = "serve it with --chat-template FILE, or without chat"
            return None, (f"no chat template was found for {name}: {exc}; {hint}",)

    def _source(self, origin: Repository, file: RemoteFile) -> Source:
        return self.hub.source(origin.name, origin.commit, file)

    def _waits_for(self, holder: Holder) -> None:
        self.meter.begin("wait", f"for process {holder.pid} on {holder.host}, which fetches it")

    # --- what is told --------------------------------------------------------------------------

    def _manifest(self, delivery: Delivery, tokenizer: Tokenizer | None) -> Manifest:
        candidate, repository = self.choice.candidate, self.repository
        name = self.reference.revision_or_default
        is_name = not repository.commit.startswith(name)
        return Manifest(
            repository=self.reference.repository,
            commit=repository.commit,
            revisions={name: self.store.named_now(self.reference.repository, name)}
            if is_name
            else {},
            listing=tuple(file for file in repository.files if ".gguf" in file.path.lower()),
            models=(StoredModel(candidate.label, candidate.paths, candidate.size_bytes),),
            files=tuple(delivery.files.values()),
            tokenizer=tokenizer,
            license=repository.license,
            num_params=repository.num_params,
        )

    def _renamed(self) -> tuple[str, ...]:
        old, new = self.reference.repository, self.repository.name
        return () if old == new else (f"{old} is {new} on the hub now; ask for it by that name",)
