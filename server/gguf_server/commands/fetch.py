"""``gguf-server fetch``: gets a model, and says how far it is while it does."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gguf_server.commands.progress import shown
from gguf_server.models.fetch import Fetched
from gguf_server.models.fetch import fetch as fetch_model
from gguf_server.models.files import check_model_file
from gguf_server.models.preview import Preview, preview
from gguf_server.models.reference import Reference
from gguf_server.models.sizes import human_bytes
from gguf_server.models.store.store import Store
from gguf_server.parent import die_with_parent
from gguf_server.settings.models import FetchSettings, wanted
from gguf_server.tables import show

_MAX_FILES = 20


def fetch(settings: FetchSettings) -> None:
    logging.basicConfig(format="gguf-server: %(message)s", level=logging.WARNING)
    if settings.end_with_parent:
        die_with_parent()
    source = settings.source
    if isinstance(source, Path):
        _answer(settings, *_local(source))
    elif settings.dry_run:
        _answer(settings, *_previewed(settings, source))
    else:
        _answer(settings, *_fetched(settings, source))


def lines(fetched: Fetched) -> list[str]:
    """For people."""
    moved = human_bytes(fetched.downloaded_bytes)
    cost = f"{moved} downloaded" if fetched.downloaded_bytes else "nothing to download"
    if fetched.adopted_bytes:
        cost += f", {human_bytes(fetched.adopted_bytes)} were here already"
    found = [f"{fetched.reason}", f"{cost}, {fetched.seconds:.1f} s", str(fetched.path)]
    if fetched.chat_template:
        found.append(f"with the chat template {fetched.chat_template}")
    return found


def preview_lines(found: Preview) -> list[str]:
    """For people."""
    ordered = sorted(found.files, key=lambda file: -file.size_bytes)
    listed = [f"  {human_bytes(file.size_bytes):>9}  {file.path}" for file in ordered[:_MAX_FILES]]
    more = [f"  and {len(ordered) - _MAX_FILES} more"] if len(ordered) > _MAX_FILES else []
    cost = f"{human_bytes(found.download_bytes)} would be downloaded into the model directory:"
    if not ordered:
        cost = "nothing would be downloaded"
    return [
        found.reason,
        f"from {found.repository} at {found.commit}",
        f"chat template: {found.template}",
        cost,
        *listed,
        *more,
    ]


def _local(path: Path) -> tuple[dict[str, object], Sequence[str]]:
    """A file of the user's own is fetched already; it only must be one."""
    check_model_file(path)
    return {"path": str(path)}, [f"{path} is a file: there is nothing to fetch"]


def _fetched(settings: FetchSettings, source: Reference) -> tuple[dict[str, object], Sequence[str]]:
    try:
        with shown(sys.stderr, as_json=settings.json) as report:
            fetched = fetch_model(
                source,
                wanted(settings, source),
                Store(settings.models_path),
                tokenizer=settings.tokenizer,
                offline=settings.offline,
                report=report,
            )
    except KeyboardInterrupt:
        print("gguf-server: stopped; run it again and it goes on from here", file=sys.stderr)
        raise
    for warning in fetched.warnings if not settings.json else ():
        print(f"gguf-server: {warning}", file=sys.stderr)
    return msgspec.to_builtins(fetched, enc_hook=str), lines(fetched)


def _previewed(
    settings: FetchSettings, source: Reference
) -> tuple[dict[str, object], Sequence[str]]:
    found = preview(
        source, wanted(settings, source), Store(settings.models_path), tokenizer=settings.tokenizer
    )
    about = msgspec.to_builtins(found) | {"download_bytes": found.download_bytes}
    return about, preview_lines(found)


def _answer(settings: FetchSettings, about: dict[str, object], text: Sequence[str]) -> None:
    show([msgspec.json.encode(about).decode()] if settings.json else text)
