"""What somebody else has chosen: names on the hub, texts in files, what lies in the directory."""

import stat
from pathlib import Path

_MAX_NAME_BYTES = 255  # what file systems take
_MAX_PATH_BYTES = 1024


def is_safe_path(path: str) -> bool:
    """Is it relative, inside its directory, printable, and of no name that is hidden?"""
    return (
        path.isprintable()
        and len(path.encode()) <= _MAX_PATH_BYTES
        and "\\" not in path
        and all(
            part and not part.startswith(".") and len(part.encode()) <= _MAX_NAME_BYTES
            for part in path.split("/")
        )
    )


def is_plain_file(path: Path) -> bool:
    """No link, no pipe, and there."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
