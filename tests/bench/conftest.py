from pathlib import Path

import gguf
import pytest


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """A model's file with five tokens, two of them no text, and no weights."""
    path = tmp_path / "vocabulary.gguf"
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "<s>", "</s>", "b", "ab"])
    writer.add_token_types([normal, control, control, normal, normal])
    writer.add_token_merges(["a b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
