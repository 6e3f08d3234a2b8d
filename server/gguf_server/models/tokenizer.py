"""The small files beside a model, and who has the chat template that a model file lacks."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from gguf_server.errors import FetchFailed, StartupError
from gguf_server.models.listing import RemoteFile, Repository

Mode = Literal["auto", "always", "never"]

TEMPLATE_TEXT = "chat_template.jinja"
_TEMPLATE_JSON = "chat_template.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE_FILES = frozenset({TEMPLATE_TEXT, _TEMPLATE_JSON, _TOKENIZER_CONFIG})
_TOKENIZER_FILES = _TEMPLATE_FILES | {
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
}
_CONFIG_FILES = frozenset({"config.json", "generation_config.json"})
_LEGAL_PREFIXES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
_MAX_TOKENIZER_BYTES = 64 << 20  # the largest vocabularies take half of it
_MAX_TEXT_BYTES = 4 << 20
_MAX_LEGAL_TEXTS = 8
_MAX_LEVELS = 2


class NoTemplate(Exception):
    """Nobody has a chat template for this model; the message says why."""


def small_files(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """What a model's repository has beside it that is worth having."""
    legal = [file for file in files if _is_legal_text(file)]
    return (*tokenizer_files(files), *legal[:_MAX_LEGAL_TEXTS])


def tokenizer_files(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """What a base model's repository has that a model file may lack."""
    return tuple(file for file in files if _is_tokenizer_file(file))


def template_files(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Those that may have the chat template; where there are none, it has none."""
    return tuple(file for file in tokenizer_files(files) if file.path in _TEMPLATE_FILES)


def base_models(
    model: Repository, named_in_file: Sequence[str], ask: Callable[[str], Repository]
) -> Iterator[Repository]:
    """Who may have the template, nearest first; ends with ``NoTemplate``.

    What the card says counts before what the file's keys say. A base model that is a quantization
    itself has a base model of its own: one level up, no further.
    """
    name, named = model.name, model.base_models or tuple(named_in_file)
    for _ in range(_MAX_LEVELS):
        base = _asked(ask, _only(name, named))
        if template_files(base.files):
            yield base
        if not _is_quantized(base):
            raise NoTemplate(f"its base model {base.name} has none either")
        name, named = base.name, base.base_models
    raise NoTemplate(f"its base models up to {name} are quantizations without one")


def read_template(directory: Path, names: Collection[str]) -> str:
    """The default chat template among these files in ``directory``; empty if there is none."""
    if TEMPLATE_TEXT in names:
        return (directory / TEMPLATE_TEXT).read_text("utf-8", errors="replace")
    found = (
        _template_in(directory / name)
        for name in (_TEMPLATE_JSON, _TOKENIZER_CONFIG)
        if name in names
    )
    text = next(filter(None, found), "")
    return text.encode("utf-8", "replace").decode()  # JSON may hold halves of characters


def _template_in(path: Path) -> str:
    """``chat_template`` is a string, or a list of templates with names. Files may be anything."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return ""
    template = content.get("chat_template") if isinstance(content, dict) else None
    if not isinstance(template, list):
        return template if isinstance(template, str) else ""
    named = {
        each["name"]: each["template"]
        for each in template
        if isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and isinstance(each.get("template"), str)
    }
    return named.get("default") or next(iter(named.values()), "")


def _only(name: str, named: Sequence[str]) -> str:
    others = [each for each in dict.fromkeys(named) if each != name]
    if not others:
        raise NoTemplate(f"{name} names no base model")
    if len(others) > 1:
        raise NoTemplate(f"{name} names several base models: {', '.join(others)}")
    return others[0]


def _asked(ask: Callable[[str], Repository], name: str) -> Repository:
    """A hub that fails this time is no answer: a model without its template would stay so."""
    try:
        return ask(name)
    except FetchFailed:
        raise
    except StartupError as exc:
        raise NoTemplate(f"its base model cannot be had: {exc.message}") from exc


def _is_quantized(repository: Repository) -> bool:
    return any(file.path.lower().endswith(".gguf") for file in repository.files)


def _is_tokenizer_file(file: RemoteFile) -> bool:
    is_wanted = file.path in _TOKENIZER_FILES or file.path in _CONFIG_FILES
    return is_wanted and file.size_bytes <= _MAX_TOKENIZER_BYTES


def _is_legal_text(file: RemoteFile) -> bool:
    is_wanted = "/" not in file.path and file.path.upper().startswith(_LEGAL_PREFIXES)
    return is_wanted and file.size_bytes <= _MAX_TEXT_BYTES
