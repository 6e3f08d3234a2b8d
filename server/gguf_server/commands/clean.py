"""``gguf-server clean``: what may go, why, and how much room that makes."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gguf_server.errors import StorageUnusable
from gguf_server.models.sizes import human_bytes
from gguf_server.models.store.cleaning import Rest, Rules, Verdict, judge
from gguf_server.models.store.layout import MANIFEST_NAME, repository_name
from gguf_server.models.store.manifest import StoredModel
from gguf_server.models.store.removal import freed_bytes, remove, undisturbed
from gguf_server.models.store.rests import busy_repositories, foreign_models, rests, unreadable
from gguf_server.models.store.revision import Revision
from gguf_server.models.store.store import Store
from gguf_server.settings.models import CleanSettings
from gguf_server.tables import show, table


@dataclass(frozen=True, slots=True)
class Item:
    """What lies there, and what becomes of it."""

    goes: bool
    name: str
    size_bytes: int
    why: str


def clean(settings: CleanSettings) -> None:
    """Raises ``StorageUnusable`` where something that should go could not be removed."""
    store = Store(settings.models_path)
    complaints: list[str] = []
    if settings.yes:
        with undisturbed(store) as busy:
            verdicts = _judged(store, busy, settings)
            freed = freed_bytes(verdicts)
            complaints = remove(store, verdicts)
    else:
        verdicts = _judged(store, busy_repositories(store), settings)
        freed = freed_bytes(verdicts)
    items = [*(_item(store, each) for each in verdicts), *_strangers(store)]
    if settings.json:
        print(json.dumps(as_json(items, freed, is_done=settings.yes), indent=1))
    else:
        show(lines(store.root, items, freed, is_done=settings.yes))
    if complaints:
        for line in complaints[1:]:
            print(f"gguf-server: {line}", file=sys.stderr)
        raise StorageUnusable(complaints[0])


def lines(root: Path, items: Sequence[Item], freed: int, *, is_done: bool) -> list[str]:
    """For people: what goes first."""
    if not items:
        return [f"There is nothing in {root}."]
    ordered = sorted(items, key=lambda each: not each.goes)
    rows = [
        (_word(each, is_done=is_done), each.name, human_bytes(each.size_bytes), each.why)
        for each in ordered
    ]
    found = table(("", "WHAT", "SIZE", "WHY"), rows)
    if is_done:
        return [*found, f"{human_bytes(freed)} were freed."]
    again = " Do it with --yes." if any(each.goes for each in items) else ""
    return [*found, f"{human_bytes(freed)} would be freed.{again}"]


def as_json(items: Sequence[Item], freed: int, *, is_done: bool) -> dict[str, object]:
    """For scripts."""
    return {"done": is_done, "freed_bytes": freed, "items": [asdict(each) for each in items]}


def _judged(store: Store, busy: frozenset[str], settings: CleanSettings) -> list[Verdict]:
    rules = Rules(settings.keep_quant, settings.keep_revisions, settings.older_than)
    return judge(store.revisions(), rests(store, busy), busy, rules, time.time())


def _item(store: Store, verdict: Verdict) -> Item:
    if verdict.rest is not None:
        name, size_bytes = _rest_name(store, verdict.rest), verdict.rest.size_bytes
    else:
        assert verdict.revision is not None
        assert verdict.model is not None
        name, size_bytes = _model_name(verdict.revision, verdict.model), verdict.model.size_bytes
    return Item(verdict.goes, name, size_bytes, verdict.why)


def _strangers(store: Store) -> Iterator[Item]:
    """What is never touched."""
    for rest in unreadable(store):
        manifest = rest.path / MANIFEST_NAME
        yield _kept(manifest, rest.size_bytes, "is damaged or of a later version")
    for path, size_bytes in foreign_models(store):
        yield _kept(path, size_bytes, "is not from a hub")


def _kept(path: Path, size_bytes: int, why: str) -> Item:
    return Item(goes=False, name=str(path), size_bytes=size_bytes, why=why)


def _rest_name(store: Store, rest: Rest) -> str:
    return f"rest of {repository_name(store.root, rest.path)}"


def _model_name(revision: Revision, model: StoredModel) -> str:
    manifest = revision.manifest
    return f"{manifest.repository}@{manifest.commit[:8]}:{model.label or model.paths[0]}"


def _word(item: Item, *, is_done: bool) -> str:
    if not item.goes:
        return "stays"
    return "gone" if is_done else "goes"
