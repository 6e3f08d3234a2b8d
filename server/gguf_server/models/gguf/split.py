"""A model in several files: do they belong together?"""

from collections.abc import Sequence
from pathlib import Path

from gguf_server.errors import ModelFileError
from gguf_server.models.candidates import SPLIT
from gguf_server.models.gguf.header import Header
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes


def read_headers(path: Path) -> list[Header]:
    """Of a file, or of all parts of a split. Raises ``ModelFileError``."""
    first = _header(path)
    if (first.whole("split.count") or 1) == 1:  # whatever it is called
        return [first]
    headers = [first, *(_header(part) for part in _other_parts(path))]
    check_split(str(path), headers)
    return headers


def _other_parts(path: Path) -> list[Path]:
    """Of the split that this is the first of. llama.cpp finds them by their names, too."""
    found = SPLIT.fullmatch(path.name)
    if not found:
        msg = (
            f"{path} is a part of a split model and not named so; call it NAME-00001-of-0000N.gguf"
        )
        raise ModelFileError(f"{msg}, beside the others")
    names = [
        f"{found['stem']}-{number:05}-of-{found['count']}{path.suffix}"
        for number in range(1, int(found["count"]) + 1)
    ]
    if int(found["number"]) != 1:
        msg = f"{path} is part {int(found['number'])} of a split model; name the first: {names[0]}"
        raise ModelFileError(msg)
    parts = [path.with_name(name) for name in names[1:]]
    for part in parts:
        if not part.exists():
            msg = f"{part} is missing, a part of the split model {path}; download it"
            raise ModelFileError(msg)
    return parts


def _header(path: Path) -> Header:
    with FileBytes(path) as source:
        return read_header(source)


def check_split(name: str, headers: Sequence[Header]) -> None:
    """Raises ``ModelFileError`` where the parts do not make one model."""
    if len(headers) == 1 and headers[0].whole("split.count") in (None, 0, 1):
        return
    for index, header in enumerate(headers):
        said = (header.whole("split.no"), header.whole("split.count"))
        if said != (index, len(headers)):
            msg = (
                f"{name}: part {index + 1} of {len(headers)} says that it is number"
                f" {said[0]} of {said[1]} (from 0); its parts are of different models"
            )
            raise ModelFileError(msg)
    wanted = headers[0].whole("split.tensors.count")
    there = sum(len(each.tensors) for each in headers)
    if wanted is not None and wanted != there:
        msg = f"{name}: {there} of its {wanted} tensors are in its parts; download it again"
        raise ModelFileError(msg)
