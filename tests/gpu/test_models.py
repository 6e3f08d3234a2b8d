import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from gguf_server.models.gguf.reader import read_header
from gguf_server.models.gguf.source import FileBytes
from gguf_server.settings.serve import Settings
from tests.deploy.architectures import F32, Q8_0
from tests.gguf_files import header
from tests.gpu import vocabulary, weights
from tests.gpu.models import SMALL_MODELS, TRUE_MODELS

MODELS = {model.name: model for model in (*TRUE_MODELS, *SMALL_MODELS)}
TINY = SMALL_MODELS[0]


@pytest.fixture(scope="module")
def tokenizer() -> vocabulary.Keys:
    source = Settings().source
    assert isinstance(source, Path)
    return vocabulary.read(source)


@pytest.fixture(scope="module")
def written(tokenizer: vocabulary.Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    keys = vocabulary.extended(tokenizer, TINY.num_vocabulary_tokens)
    return weights.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TINY.shape, keys)


def test_the_mixture_has_the_parameters_and_the_bytes_of_the_real_one():
    shape = MODELS["moe-8x3b-18.4b"].shape
    assert round(sum(math.prod(dims) for _, dims, _ in shape.shapes) / 1e9, 1) == 18.4
    assert round(header({}, shape.shapes)[1] / 1e9, 1) == 19.6


def test_a_small_model_has_the_tensors_of_the_real_one():
    source = Settings().source
    assert isinstance(source, Path)
    with FileBytes(source) as file:
        real = {tensor.name: tuple(tensor.dimensions) for tensor in read_header(file).tensors}
    ours = {name: dims for name, dims, _ in MODELS["smollm2-135m"].shape.shapes}
    assert ours == real


@pytest.fixture(scope="module")
def tensors(written: Path) -> list[gguf.ReaderTensor]:
    return list(gguf.GGUFReader(written).tensors)


def test_a_written_file_is_whole_and_its_weights_are_of_one_size(tensors):
    assert len(tensors) == len(TINY.shape.shapes)
    for tensor in tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith("norm.weight"):
            assert (values == 1).all()
        else:
            assert values.std() * math.sqrt(tensor.shape[0]) == pytest.approx(1.0, abs=0.1)


def test_two_tensors_of_a_shape_do_not_hold_the_same(tensors):
    data = {each.name: each.data for each in tensors}
    one, other = (data[f"blk.{layer}.attn_q.weight"] for layer in (0, 1))
    assert not np.array_equal(one, other)


def test_a_tensor_larger_than_what_is_drawn_is_written_whole(tmp_path: Path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        weights._write_tensor(file, ("x.weight", (64, 600_000), Q8_0), 15)
    assert path.stat().st_size == 64 * 600_000 // 32 * 34
    with path.open("wb") as file:
        weights._write_tensor(file, ("x.weight", (3,), F32), 0)
    assert path.stat().st_size == 32  # aligned


def test_a_file_that_is_not_whole_has_another_name(monkeypatch, tmp_path: Path, tokenizer):
    monkeypatch.setattr(weights, "_write_tensor", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        weights.write(tmp_path / "m.gguf", TINY.shape, tokenizer)
    assert [each.name for each in tmp_path.iterdir()] == ["m.gguf.partial"]


def test_a_saved_tokenizer_is_the_same_and_small(tmp_path: Path, tokenizer: vocabulary.Keys):
    saved = vocabulary.save(tokenizer, tmp_path / "vocabulary.gguf")
    assert vocabulary.read(saved) == tokenizer
    assert saved.stat().st_size < 4 << 20


def test_a_longer_vocabulary_begins_with_the_real_one_and_repeats_no_token(tokenizer):
    real = tokenizer["tokenizer.ggml.tokens"]
    more = vocabulary.extended(tokenizer, len(real) + 1000)
    assert more["tokenizer.ggml.tokens"][: len(real)] == real
    assert len(set(more["tokenizer.ggml.tokens"])) == len(real) + 1000
    assert len(more["tokenizer.ggml.token_type"]) == len(real) + 1000
    with pytest.raises(ValueError, match="is less than the tokenizer's"):
        vocabulary.extended(tokenizer, 10)
