"""A file that cannot be served is found out at once, and the message says what to do."""

import os
from pathlib import Path

import pytest

from gguf_server.errors import ModelFileError
from gguf_server.models.files import check_model_file


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        check_model_file(path)
    message = caught.value.message
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_file_that_begins_like_a_gguf_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    check_model_file(path)


def test_a_link_to_a_good_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    check_model_file(link)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "missing.gguf")


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(tmp_path / "gone.gguf")
    assert "does not exist" in refusal(link)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    assert "does not exist" in refusal(path / "model.gguf")


def test_a_directory_is_refused_with_the_advice_to_name_the_file(tmp_path: Path) -> None:
    assert "name the .gguf file in it" in refusal(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    path.touch()
    assert "is empty" in refusal(path)


@pytest.mark.parametrize("content", [b"G", b"GGU", b"ggml", b"<html>", b"\x00\x00\x00\x00"])
def test_a_file_that_begins_otherwise_is_refused_with_what_it_begins_with(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    message = refusal(path)
    assert "not a GGUF file" in message
    assert repr(content[:4]) in message


def test_a_path_that_the_system_refuses_is_an_error_like_the_others(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)
    assert "not a regular file" in refusal(path)
