from pathlib import Path

import gguf
import pytest

from tests.bench.vocabulary import control_tokens, tokenizer


def test_control_tokens_are_what_the_file_says(vocabulary: Path) -> None:
    assert control_tokens(vocabulary) == (1, 2)


def test_a_tokenizer_has_the_files_tokens_under_their_numbers_and_its_merges(
    vocabulary: Path,
) -> None:
    model = tokenizer(vocabulary)["model"]
    assert model["vocab"] == {"a": 0, "<s>": 1, "</s>": 2, "b": 3, "ab": 4}
    assert model["merges"] == ["a b"]


def test_another_kind_of_vocabulary_is_refused_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "pieces.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"pieces\.gguf: no vocabulary of byte pairs"):
        tokenizer(path)
