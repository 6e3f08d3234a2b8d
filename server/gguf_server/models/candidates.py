"""From a repository's files to what could be loaded: model files, the parts of a split as one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from gguf_server.models.listing import RemoteFile
from gguf_server.models.quantization import REMOVED, label_of, without_labels

SPLIT = re.compile(
    r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>(?!00000)[0-9]{5})\.gguf", re.IGNORECASE
)
_OLD_SPLIT = re.compile(r"\.gguf[-.](?:split|part)|\.part\d+of\d+$", re.IGNORECASE)
_WORD = re.compile(r"[^a-z0-9]+")
_PREFIXES = ("mtp-", "eagle-", "eagle3-", "dflash-", "dspark-", "draft-", "ggml-vocab-")
_COMPANIONS = {
    "mmproj": "is a projector for images or sound",
    "imatrix": "is an importance matrix",
    "lora": "is an adapter",
    "adapter": "is an adapter",
    "draft": "is a draft model",
    "drafter": "is a draft model",
}
# Says how it was quantized, not which model it is.
_NOISE = {"ud", "i1", "imat", "imatrix", "gguf", "ggml", "quantized", "quant"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One loadable model. Of a split all parts that are there, in order; ``num_parts`` is how many
    there should be.
    """

    label: str
    files: tuple[RemoteFile, ...]
    num_parts: int = 1

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)

    @property
    def is_complete(self) -> bool:
        return len(self.files) == self.num_parts

    @property
    def missing_parts(self) -> tuple[int, ...]:
        """Their numbers, from 1."""
        there = {_number(file.path) for file in self.files}
        return tuple(sorted(set(range(1, self.num_parts + 1)) - there))

    @property
    def model(self) -> str:
        """What tells one model from another: the name without quantization, parts and noise."""
        found = SPLIT.fullmatch(self.files[0].path)
        path = found["stem"] if found else self.files[0].path
        words = _WORD.split(without_labels(path).lower())
        name = "-".join(dict.fromkeys(word for word in words if word and word not in _NOISE))
        return name or "model"


def candidates(files: Iterable[RemoteFile]) -> list[Candidate]:
    """Every model that a repository offers, whole or not."""
    models = sorted(
        (file for file in files if file.size_bytes and not rejection(file.path)),
        key=lambda file: _key(file.path),
    )
    return [_candidate(tuple(parts)) for _, parts in groupby(models, lambda file: _key(file.path))]


def rejection(path: str) -> str:
    """Why a file is never chosen; empty for a model."""
    name = path.lower().rpartition("/")[2]
    if _OLD_SPLIT.search(name):
        return "is a part in a format that llama.cpp does not load; join the parts by hand"
    if not name.endswith(".gguf"):
        return "is no GGUF file"
    if name.startswith(_PREFIXES):
        return "is a draft model or a part of one"
    for word in _WORD.split(path.lower()):
        if word in _COMPANIONS:
            return _COMPANIONS[word]
    if label_of(path) in REMOVED:
        return "is of a quantization that llama.cpp loads no more"
    return ""


def _key(path: str) -> tuple[str, str]:
    """The same for all parts of a split."""
    found = SPLIT.fullmatch(path)
    return (found["stem"], found["count"]) if found else (path, "")


def _number(path: str) -> int:
    found = SPLIT.fullmatch(path)
    return int(found["number"]) if found else 1


def _candidate(parts: tuple[RemoteFile, ...]) -> Candidate:
    ordered = tuple(sorted(parts, key=lambda file: _number(file.path)))
    found = SPLIT.fullmatch(ordered[0].path)
    num_parts = int(found["count"]) if found else 1
    inside = tuple(file for file in ordered if 1 <= _number(file.path) <= num_parts)
    return Candidate(label_of(ordered[0].path), inside or ordered, num_parts)
