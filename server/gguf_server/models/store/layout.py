"""Names in the model directory. Whatever is not of this form is somebody else's.

``<root>/<org>/<repo>/<commit>/<files>`` with ``manifest.json`` and ``.used``; beside the commits
``.partial`` with what has not wholly arrived, and ``.lease``.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PARTIALS_NAME = ".partial"
LEASE_NAME = ".lease"
USED_NAME = ".used"
TOKENIZER_NAME = "tokenizer"
BLOCK_BYTES = 512  # of st_blocks, whatever the file system's are
_COMMIT = re.compile(r"[0-9a-f]{40}")


def repository_directories(root: Path) -> Iterator[Path]:
    """``<root>/<org>/<repo>``, ours or not."""
    for org in _directories(root):
        yield from _directories(org)


def revision_directories(root: Path) -> Iterator[Path]:
    """Directories that are named like a commit, in the right place."""
    for repository in repository_directories(root):
        yield from (each for each in _directories(repository) if _COMMIT.fullmatch(each.name))


def repository_name(root: Path, directory: Path) -> str:
    """``org/repo``, from a directory of a repository or of one of its revisions."""
    return "/".join(directory.relative_to(root).parts[:2])


def _directories(path: Path) -> list[Path]:
    """Real ones, in order; what cannot be read has none."""
    with suppress(OSError), os.scandir(path) as entries:
        return sorted(Path(each.path) for each in entries if each.is_dir(follow_symlinks=False))
    return []
