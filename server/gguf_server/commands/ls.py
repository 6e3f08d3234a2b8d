"""``gguf-server ls``: the models that are here, and whether they can be served."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf_server.commands.times import ago
from gguf_server.models.candidates import Candidate
from gguf_server.models.sizes import human_bytes
from gguf_server.models.store.layout import MANIFEST_NAME, repository_name
from gguf_server.models.store.rests import foreign_models, partials, unreadable
from gguf_server.models.store.revision import Revision
from gguf_server.models.store.store import Missing, Store
from gguf_server.settings.models import LsSettings
from gguf_server.tables import show, table

_SHORT_COMMIT = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One model. ``fault`` says why it cannot be served; empty if it can."""

    name: str
    commit: str
    revisions: tuple[str, ...]
    quantization: str
    size_bytes: int
    path: Path
    fault: str
    last_used: float


@dataclass(frozen=True, slots=True)
class Others:
    """What else lies there: of repositories what has arrived, files of other tools, and manifests
    that cannot be read. Sizes are bytes.
    """

    incoming: Sequence[tuple[str, int]]
    foreign: Sequence[tuple[Path, int]]
    unreadable: Sequence[Path]


def ls(settings: LsSettings) -> None:
    store = Store(settings.models_path)
    rows = [row for revision in store.revisions() for row in _rows(store, revision)]
    others = Others(
        [(repository_name(store.root, each.path), each.size_bytes) for each in partials(store)],
        foreign_models(store),
        [each.path / MANIFEST_NAME for each in unreadable(store)],
    )
    if settings.json:
        print(json.dumps(as_json(rows, others), indent=1))
    else:
        show(lines(store.root, rows, others, time.time()))


def lines(root: Path, rows: Sequence[Row], others: Others, now: float) -> list[str]:
    """For people."""
    if not (rows or others.incoming or others.foreign or others.unreadable):
        return [f"There is no model in {root}. Get one: gguf-server fetch org/repo"]
    found = []
    if rows:
        heads = ("MODEL", "REVISION", "SIZE", "VERIFIED", "LAST USED")
        found += table(heads, [_cells(row, now) for row in rows])
    found += [
        f"{name}: {human_bytes(size)} have arrived of a fetch; run it again and it goes on there"
        for name, size in others.incoming
    ]
    found += [f"{path} ({human_bytes(size)}) is not from a hub" for path, size in others.foreign]
    found += [
        f"{path} is damaged or of a later version; fetch that model again"
        for path in others.unreadable
    ]
    return found


def as_json(rows: Sequence[Row], others: Others) -> dict[str, object]:
    """For scripts: bytes, and seconds since 1970."""
    return {
        "models": [
            {
                "name": row.name,
                "commit": row.commit,
                "revisions": list(row.revisions),
                "quantization": row.quantization,
                "size_bytes": row.size_bytes,
                "path": str(row.path),
                "verified": not row.fault,
                "fault": row.fault,
                "last_used": row.last_used,
            }
            for row in rows
        ],
        "incoming": [{"repository": name, "size_bytes": size} for name, size in others.incoming],
        "foreign": [{"path": str(path), "size_bytes": size} for path, size in others.foreign],
        "unreadable": [str(path) for path in others.unreadable],
    }


def _rows(store: Store, revision: Revision) -> list[Row]:
    manifest = revision.manifest
    rows = []
    for model in manifest.models:
        files = tuple(file for file in manifest.listing if file.path in model.paths)
        found = store.verified(revision, Candidate(model.label, files, len(files)))
        selector = model.label or model.paths[0]
        rows.append(
            Row(
                name=f"{manifest.repository}:{selector}",
                commit=manifest.commit,
                revisions=tuple(sorted(manifest.revisions)),
                quantization=model.label,
                size_bytes=model.size_bytes,
                path=revision.directory / model.paths[0],
                fault=found.reason if isinstance(found, Missing) else "",
                last_used=revision.last_used,
            )
        )
    return rows


def _cells(row: Row, now: float) -> tuple[str, ...]:
    names = f" ({', '.join(row.revisions)})" if row.revisions else ""
    return (
        row.name,
        row.commit[:_SHORT_COMMIT] + names,
        human_bytes(row.size_bytes),
        f"no: {row.fault}" if row.fault else "yes",
        ago(now - row.last_used),
    )
