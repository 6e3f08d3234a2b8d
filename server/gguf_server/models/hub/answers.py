"""What the hub says of a repository, as our own data. Nothing of it is trusted."""

import re
from collections.abc import Iterable

from huggingface_hub import ModelInfo
from huggingface_hub.hf_api import RepoSibling

from gguf_server.models.foreign import is_safe_path
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.store.layout import MANIFEST_NAME

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_BASE_MODEL_TAG = "base_model:"
_LICENSE_TAG = "license:"


def repository_of(info: ModelInfo) -> Repository:
    """Raises ``ValueError`` for an answer that no hub gives."""
    if not _is_name(info.id) or not _is_hash(_COMMIT, info.sha):
        msg = f"no name or no commit in it: {info.id!r}, {info.sha!r}"
        raise ValueError(msg)
    tags = [str(tag) for tag in info.tags or ()]
    card = info.card_data
    num_params = (info.gguf or {}).get("total")
    return Repository(
        name=info.id,
        commit=str(info.sha),
        files=tuple({file.path: file for file in _files(info.siblings or ())}.values()),
        base_models=_base_models(getattr(card, "base_model", None), tags),
        license=_license(getattr(card, "license", None), tags),
        num_params=num_params if isinstance(num_params, int) and num_params > 0 else None,
    )


def _files(siblings: Iterable[RepoSibling]) -> Iterable[RemoteFile]:
    """Those that can be stored and verified."""
    for each in siblings:
        sha256 = each.lfs.sha256 if each.lfs else ""
        blob_id = "" if sha256 else each.blob_id
        is_verifiable = _is_hash(_SHA256, sha256) or _is_hash(_COMMIT, blob_id)
        size = each.lfs.size if each.lfs else each.size
        is_storable = is_safe_path(each.rfilename) and each.rfilename.split("/")[0] != MANIFEST_NAME
        if is_verifiable and isinstance(size, int) and size >= 0 and is_storable:
            yield RemoteFile(each.rfilename, size, sha256, blob_id or "")


def _base_models(card: object, tags: Iterable[str]) -> tuple[str, ...]:
    """The card may name one or a list; the hub makes tags of it, some with the relation inside:
    ``base_model:quantized:org/name``.
    """
    named = card if isinstance(card, list) else [card]
    tagged = [tag.rpartition(":")[2] for tag in tags if tag.startswith(_BASE_MODEL_TAG)]
    return tuple(dict.fromkeys(name for name in (*named, *tagged) if _is_name(name)))


def _license(card: object, tags: Iterable[str]) -> str:
    tagged = next((tag for tag in tags if tag.startswith(_LICENSE_TAG)), "")
    text = card if isinstance(card, str) else tagged.removeprefix(_LICENSE_TAG)
    return text if text.isprintable() else ""


def _is_name(text: object) -> bool:
    return isinstance(text, str) and bool(_NAME.fullmatch(text)) and ".." not in text


def _is_hash(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and bool(pattern.fullmatch(text))
