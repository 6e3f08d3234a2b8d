"""What the hub holds: repositories, their commits, and files with their true hashes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

LARGE_BYTES = 1_000_000  # from here on, and for every .gguf, large-file storage


@dataclass(eq=False)
class File:
    """Bytes on disk: they may be gigabytes. ``claimed_sha256`` is for a record that is wrong."""

    path: Path
    is_xet: bool = False
    claimed_sha256: str = ""

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        with self.path.open("rb") as file:
            return self.claimed_sha256 or hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def blob_id(self) -> str:
        content = self.path.read_bytes()
        header = b"blob %d\0" % len(content)
        return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def is_large(name: str, file: File) -> bool:
    return name.endswith(".gguf") or file.size_bytes >= LARGE_BYTES


@dataclass(eq=False)
class Repository:
    """``gated`` asks for a token that is in ``readers``; ``private`` hides it from all others."""

    name: str
    card: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    gguf: Mapping[str, Any] | None = None
    is_gated: bool = False
    is_private: bool = False
    readers: tuple[str, ...] = ()
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, File], *, branch: str = "main") -> str:
        """A new commit on the branch; its 40 hex digits."""
        seed = f"{self.name} {len(self.commits)} {branch}"
        commit = hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[branch] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        """A branch, a tag, or a commit's name."""
        return self.refs.get(revision) or (revision if revision in self.commits else None)
