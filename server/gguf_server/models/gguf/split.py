"""A model in several files: do they belong together?"""

from collections.abc import Sequence
from pathlib import Path

from gguf_server.errors import ModelFileError
from gguf_server.models.candidates import SPLIT
from gguf_server.models.gguf.header import Header
from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes


def part_paths(path: Path) -> list[Path]:
    """All parts of the split that this is the first of; the file itself where it is no split."""
    found = SPLIT.fullmatch(path.name)
    if not found:
        return [path]
    count = int(found["count"])
    suffix = path.suffix
    return [
        path.with_name(f"{found['stem']}-{number:05}-of-{count:05}{suffix}")
        for number in range(1, count + 1)
    ]


def read_headers(path: Path) -> list[Header]:
    """Of a file, or of all parts of a split. Raises ``ModelFileError``."""
    found = SPLIT.fullmatch(path.name)
    if found and int(found["number"]) != 1:
        first = part_paths(path)[0].name
        msg = f"{path} is part {int(found['number'])} of a split model; name the first: {first}"
        raise ModelFileError(msg)
    headers = []
    for part in part_paths(path):
        if not part.exists() and part != path:
            msg = f"{part} is missing, a part of the split model {path}; download it"
            raise ModelFileError(msg)
        with FileBytes(part) as source:
            headers.append(read_header(source))
    check_split(str(path), headers)
    return headers


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
