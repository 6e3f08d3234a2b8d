"""What strangers name their files."""

import os
from pathlib import Path

import pytest

from gguf_server.models.foreign import is_plain_file, is_safe_path


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x.gguf", "a/../../x.gguf", "a//b.gguf", "a/./b", "", "a/", "."),
        *("a\\b.gguf", "a\nb.gguf", "a\x00b", "a\x1bb", "\ud800.gguf", "x" * 256),
        *(".used", ".partial/x", ".lease", ".gitattributes", "a/.b"),
    ],
)
def test_paths_that_lead_elsewhere_or_are_hidden_are_not_safe(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize(
    "path", ["a.gguf", "q8/a b.gguf", "模型.gguf", "sub/manifest.json", "a..b"]
)
def test_other_paths_are_safe(path: str) -> None:
    assert is_safe_path(path)


def test_a_plain_file_is_no_link_no_pipe_and_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    names = ("file", "link", "pipe", "nothing")
    assert [is_plain_file(tmp_path / name) for name in names] == [True, False, False, False]
