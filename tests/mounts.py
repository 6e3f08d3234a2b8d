"""File systems that are full or read-only for real. Only root on Linux can have them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory of a few bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def resize(self, size_bytes: int) -> None:
        _mount("-o", f"remount,size={size_bytes}", str(self._path))


@contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[SmallDisk]:
    path.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path))
    with _mounted(path):
        yield SmallDisk(path)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A directory that nobody may write to, root included."""
    _mount("--bind", str(path), str(path))
    with _mounted(path):
        _mount("-o", "remount,bind,ro", str(path))
        yield


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"needs to mount, as root on Linux: {getattr(exc, 'stderr', None) or exc}")


@contextmanager
def _mounted(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)
