"""A file that cannot be served is found out at once, and the message says what to do."""

import os
from pathlib import Path
from typing import Any

import pytest

from gguf_server.errors import ModelFileError
from gguf_server.models.files import check_gguf_file, check_model_file
from tests.gguf_files import Shape, least_model, write_sparse

MATRIX: list[Shape] = [("output.weight", (32, 8), 0)]


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        check_model_file(path)
    message = caught.value.message
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """A model in three files."""
    metadata = {"general.architecture": "llama", "split.count": 3, "split.tensors.count": 3}
    return [
        write_sparse(
            tmp_path / f"m-{index + 1:05}-of-00003.gguf",
            metadata | {"split.no": index},
            [(f"blk.{index}.weight", (32, 8), 0)],
        )
        for index in range(3)
    ]


def cut(path: Path, size_bytes: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size_bytes)


def test_a_model_passes(tmp_path: Path) -> None:
    check_model_file(least_model(tmp_path / "model.gguf"))


def test_a_link_to_a_model_passes(tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(least_model(tmp_path / "model.gguf"))
    check_model_file(link)


def test_of_other_files_only_the_beginning_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    check_gguf_file(path)


@pytest.mark.parametrize(
    ("metadata", "shapes", "wanted"),
    [
        ({"general.architecture": "clip"}, MATRIX, "take the model that it belongs to"),
        ({"general.architecture": "llama", "general.type": "mmproj"}, MATRIX, "is a projector"),
        ({"general.architecture": "llama", "general.type": "adapter"}, MATRIX, "with --lora"),
        ({"general.type": "imatrix"}, MATRIX, "holds no model"),
        ({"general.architecture": "llama"}, [], "holds a vocabulary only"),
    ],
)
def test_what_is_no_model_by_itself_is_refused(
    tmp_path: Path, metadata: dict[str, Any], shapes: list[Shape], wanted: str
) -> None:
    assert wanted in refusal(write_sparse(tmp_path / "m.gguf", metadata, shapes))


def test_a_file_that_ends_before_its_weights_do_is_refused(tmp_path: Path) -> None:
    path = least_model(tmp_path / "m.gguf")
    size = path.stat().st_size
    cut(path, size - 1)
    assert f"{size - 1} of {size} bytes; download it again" in refusal(path)


def test_a_file_that_ends_within_its_header_is_refused(tmp_path: Path) -> None:
    path = least_model(tmp_path / "m.gguf")
    cut(path, 40)
    assert "it ends at 40 bytes, within its header" in refusal(path)


def test_a_split_passes_when_all_its_parts_are_there(parts: list[Path]) -> None:
    check_model_file(parts[0])


@pytest.mark.parametrize("number", [2, 3])
def test_a_split_without_one_of_its_parts_is_refused(parts: list[Path], number: int) -> None:
    parts[number - 1].unlink()
    assert f"{parts[number - 1]} is missing" in refusal(parts[0])


def test_a_split_of_which_a_part_is_cut_off_is_refused_with_the_part(parts: list[Path]) -> None:
    cut(parts[2], parts[2].stat().st_size - 1)
    with pytest.raises(ModelFileError, match=f"^{parts[2]} ends before its tensors do"):
        check_model_file(parts[0])


def test_a_part_that_is_not_the_first_is_refused_with_the_first(parts: list[Path]) -> None:
    assert f"name the first: {parts[0].name}" in refusal(parts[1])


def test_a_part_that_lost_its_name_is_refused_with_how_to_call_it(parts: list[Path]) -> None:
    assert "not named so" in refusal(parts[0].rename(parts[0].with_name("m.gguf")))


def test_a_whole_model_that_is_called_like_a_part_passes(tmp_path: Path) -> None:
    check_model_file(least_model(tmp_path / "joined-00001-of-00003.gguf"))


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
