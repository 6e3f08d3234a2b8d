"""The chat template that a model file lacks, brought from whoever has it."""

from collections.abc import Callable, Sequence

from gguf_server.errors import ModelUnavailable
from gguf_server.models.delivery import Delivery, Item
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.store.layout import TOKENIZER_NAME
from gguf_server.models.store.manifest import Tokenizer
from gguf_server.models.tokenizer import (
    TEMPLATE_TEXT,
    NoTemplate,
    base_models,
    read_template,
    small_files,
    template_files,
    tokenizer_files,
)

_PATH = f"{TOKENIZER_NAME}/{TEMPLATE_TEXT}"
Ask = Callable[[str], Repository]


def own_template(delivery: Delivery, model: Repository, reason: str) -> Tokenizer | None:
    """What lies beside the model file in its own repository, and was brought with it."""
    names = {file.path for file in small_files(model.files)}
    text = read_template(delivery.directory, names)
    if not text:
        return None
    delivery.write(_PATH, text)
    return Tokenizer(model.name, model.commit, reason, (_PATH,), _PATH)


def base_template(
    delivery: Delivery, model: Repository, named_in_file: Sequence[str], ask: Ask, reason: str
) -> Tokenizer:
    """The base model's, with the tokenizer that it goes with. Raises ``NoTemplate``."""
    for base in base_models(model, named_in_file, ask):
        files = template_files(base.files)
        paths = _bring(delivery, base, files)
        names = {file.path for file in files}
        if text := read_template(delivery.directory / TOKENIZER_NAME, names):
            paths = _bring(delivery, base, tokenizer_files(base.files))
            delivery.write(_PATH, text)
            all_paths = tuple(sorted({*paths, _PATH}))
            return Tokenizer(base.name, base.commit, reason, all_paths, _PATH)
        delivery.discard(paths)  # or they would pass for the next one's
    raise AssertionError  # base_models ends with NoTemplate


def _bring(delivery: Delivery, base: Repository, files: Sequence[RemoteFile]) -> list[str]:
    """Their paths."""
    items = [Item(base, file, f"{TOKENIZER_NAME}/{file.path}") for file in files]
    try:
        delivery.bring(items, "tokenizer")
    except ModelUnavailable as exc:
        raise NoTemplate(f"its base model cannot be had: {exc.message}") from exc
    return [item.path for item in items]
