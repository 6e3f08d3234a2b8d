"""Names in the model directory. Whatever is not of this form is somebody else's.

``<root>/<org>/<repo>/<commit>/<files>`` with ``.used``, which is made first, and ``manifest.json``,
which is written last; beside the commits ``.partial`` with what has not wholly arrived, and
``.lease``.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gguf_server.errors import StorageUnusable

PARTIALS_NAME = ".partial"
LEASE_NAME = ".lease"
USED_NAME = ".used"
MANIFEST_NAME = "manifest.json"
TOKENIZER_NAME = "tokenizer"
BLOCK_BYTES = 512  # of st_blocks, whatever the file system's are
_COMMIT = re.compile(r"[0-9a-f]{40}")


def repository_directories(root: Path) -> Iterator[Path]:
    """``<root>/<org>/<repo>``, ours or not."""
    for org in _directories(root):
        yield from _directories(org)


def revision_directories(root: Path) -> Iterator[Path]:
    """Those that a fetch made, be they finished or not. Other tools name theirs by commits, too."""
    for repository in repository_directories(root):
        for each in _directories(repository):
            is_ours = (each / USED_NAME).is_file() or (each / MANIFEST_NAME).is_file()
            if is_ours and _COMMIT.fullmatch(each.name):
                yield each


def repository_name(root: Path, directory: Path) -> str:
    """``org/repo``, from a directory of a repository or of one of its revisions."""
    return "/".join(directory.relative_to(root).parts[:2])


def refuse_links(root: Path, path: Path) -> None:
    """Raises ``StorageUnusable`` where a directory between the two, or ``path``, is a link: who may
    write here could have us write elsewhere.
    """
    below = path.relative_to(root).parts
    for count in range(1, len(below) + 1):
        each = root.joinpath(*below[:count])
        if each.is_symlink():
            msg = f"{each} is a link; only {root} itself may be one, replace it"
            raise StorageUnusable(msg)


def _directories(path: Path) -> list[Path]:
    """Real ones, in order; what cannot be read has none."""
    with suppress(OSError), os.scandir(path) as entries:
        return sorted(Path(each.path) for each in entries if each.is_dir(follow_symlinks=False))
    return []
