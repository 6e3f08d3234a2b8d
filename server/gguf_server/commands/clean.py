"""``gguf-server clean``: what may go, why, and how much room that makes."""

import json
import sys
import time
from collections.abc import Sequence

from gguf_server.errors import StorageUnusable
from gguf_server.models.sizes import human_bytes
from gguf_server.models.store.cleaning import Rules, Verdict, judge
from gguf_server.models.store.layout import repository_name
from gguf_server.models.store.removal import freed_bytes, remove, undisturbed
from gguf_server.models.store.rests import busy_repositories, rests
from gguf_server.models.store.store import Store
from gguf_server.settings.models import CleanSettings
from gguf_server.tables import show, table


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
    if settings.json:
        print(json.dumps(as_json(store, verdicts, freed, is_done=settings.yes), indent=1))
    else:
        show(lines(store, verdicts, freed, is_done=settings.yes))
    if complaints:
        for line in complaints[1:]:
            print(f"gguf-server: {line}", file=sys.stderr)
        raise StorageUnusable(complaints[0])


def lines(store: Store, verdicts: Sequence[Verdict], freed: int, *, is_done: bool) -> list[str]:
    """For people: what goes first."""
    if not verdicts:
        return [f"There is nothing in {store.root}."]
    ordered = sorted(verdicts, key=lambda each: not each.goes)
    rows = [
        (_word(each, is_done=is_done), _name(store, each), _size(each), each.why)
        for each in ordered
    ]
    found = table(("", "WHAT", "SIZE", "WHY"), rows)
    if is_done:
        return [*found, f"{human_bytes(freed)} were freed."]
    again = " Do it with --yes." if any(each.goes for each in verdicts) else ""
    return [*found, f"{human_bytes(freed)} would be freed.{again}"]


def as_json(
    store: Store, verdicts: Sequence[Verdict], freed: int, *, is_done: bool
) -> dict[str, object]:
    """For scripts."""
    return {
        "done": is_done,
        "freed_bytes": freed,
        "items": [
            {
                "goes": each.goes,
                "name": _name(store, each),
                "size_bytes": _size_bytes(each),
                "why": each.why,
            }
            for each in verdicts
        ],
    }


def _judged(store: Store, busy: frozenset[str], settings: CleanSettings) -> list[Verdict]:
    rules = Rules(settings.keep_quant, settings.keep_revisions, settings.older_than)
    return judge(store.revisions(), rests(store, busy), busy, rules, time.time())


def _word(verdict: Verdict, *, is_done: bool) -> str:
    if not verdict.goes:
        return "stays"
    return "gone" if is_done else "goes"


def _name(store: Store, verdict: Verdict) -> str:
    if verdict.rest is not None:
        return f"rest of {repository_name(store.root, verdict.rest.path)}"
    assert verdict.revision is not None
    assert verdict.model is not None
    manifest, model = verdict.revision.manifest, verdict.model
    return f"{manifest.repository}@{manifest.commit[:8]}:{model.label or model.paths[0]}"


def _size_bytes(verdict: Verdict) -> int:
    item = verdict.rest or verdict.model
    assert item is not None
    return item.size_bytes


def _size(verdict: Verdict) -> str:
    return human_bytes(_size_bytes(verdict))
