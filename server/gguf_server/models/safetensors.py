"""A model that has no GGUF file, for another engine: what the hub tells of it. Nothing is moved but
its ``config.json``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gguf_server.errors import IncompleteSplit
from gguf_server.models.gguf.remote import RemoteBytes
from gguf_server.models.listing import RemoteFile
from gguf_server.models.reference import Reference

_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 4 << 20
# In its root, as transformers names them; consolidated.safetensors would be the same weights again.
_WEIGHTS = re.compile(r"model(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?\.safetensors")


@dataclass(frozen=True, slots=True)
class Safetensors:
    """``context_tokens`` is what it was trained for and ``architecture`` its kind, if it tells."""

    reference: str
    name: str
    commit: str
    size_bytes: int
    num_files: int
    architecture: str
    context_tokens: int


def safetensors(reference: Reference) -> Safetensors | None:
    """None where there is nothing that such an engine loads. Raises what asking the hub raises."""
    from gguf_server.models.hub.client import Hub  # noqa: PLC0415  (takes a quarter of a second)

    with Hub() as hub:
        repository = hub.repository(reference.repository, reference.revision_or_default)
        found = weights(repository.name, repository.files)
        config = next((file for file in repository.files if file.path == _CONFIG), None)
        if not found or config is None:
            return None
        source = hub.source(repository.name, repository.commit, config)
        count = min(config.size_bytes, _MAX_CONFIG_BYTES)
        text = RemoteBytes(source, _CONFIG, config.size_bytes).read(0, count)
    architecture, context_tokens = read_config(text)
    return Safetensors(
        reference=str(Reference(reference.repository, repository.commit)),
        name=reference.repository,
        commit=repository.commit,
        size_bytes=sum(file.size_bytes for file in found),
        num_files=len(found),
        architecture=architecture,
        context_tokens=context_tokens,
    )


def weights(repository: str, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """The files of the model; empty if there are none. Raises ``IncompleteSplit``."""
    named = {file.path: match for file in files if (match := _WEIGHTS.fullmatch(file.path))}
    parts = {path: match for path, match in named.items() if match["number"]}
    if parts:
        [count, *_] = sorted(int(match["count"]) for match in parts.values())
        if len(parts) != count:
            msg = f"{repository} has {len(parts)} of {count} parts of model.safetensors"
            raise IncompleteSplit(f"{msg}; choose another revision")
    chosen = parts or named
    return [file for file in files if file.path in chosen]


def read_config(text: bytes) -> tuple[str, int]:
    """Architecture and context; of a model for images, too, those of its language model."""
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, Mapping):
        return "", 0
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else ""
    inner = config.get("text_config")
    holder = inner if isinstance(inner, Mapping) else config
    tokens = holder.get("max_position_embeddings")
    return architecture, tokens if isinstance(tokens, int) and tokens > 0 else 0
