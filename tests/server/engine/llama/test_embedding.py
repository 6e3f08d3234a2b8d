"""Embeddings by llama.cpp: the right numbers, the same alone and together, and clear refusals."""

import random
from pathlib import Path

import gguf
import numpy as np
import pytest

from gguf_server.engine.embedder import normalised
from gguf_server.engine.llama.embedding import LlamaVectorRunner
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.engine.runner import Chunk, Vector
from gguf_server.errors import LoadError
from gguf_server.knobs import Adapter
from tests.server.engine.llama import tiny_models
from tests.server.engine.llama.tiny_models import BERT_CONTEXT, EMBEDDING, HEADS, LAYERS

TEXTS = ["the cat sat.", "a cat", "the", "the the cat sat on the mat", "zebra.", "q"]
# Kernels add in another order for another batch shape; a wrong mask or position is a hundred
# times more.
BATCH_TOLERANCE = 2e-4
# llama.cpp computes GELU from a table of 16-bit floats.
NUMPY_TOLERANCE = 3e-3

EMBEDDING_ONLY = [
    "bert",
    "bert-cls",
    "bert-untold",
    "bidirectional-decoder",
    "embedding-decoder",
    "encoder",
]


def tokens_of(model: LlamaModel, text: str) -> list[int]:
    return model.vocabulary.tokenize(text, add_special=True, parse_special=True)


def unit(vector: Vector) -> Vector:
    found = normalised(vector)
    assert found is not None
    return found


def units(runner: LlamaVectorRunner, inputs: list[list[int]]) -> list[Vector]:
    return [unit(vector) for vector in runner.embed(inputs)]


# --- the numbers -----------------------------------------------------------------------------


class NumpyBert:
    """The forward pass as the paper has it, from the tensors of the file."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self._tensors = {t.name: t.data.astype(np.float64) for t in reader.tensors}

    def states(self, tokens: list[int]) -> np.ndarray:
        x = self._tensors["token_embd.weight"][tokens] + self._tensors["token_types.weight"][0]
        x = x + self._tensors["position_embd.weight"][: len(tokens)]
        x = self._norm("token_embd_norm", x)
        for layer in range(LAYERS):
            block = f"blk.{layer}"
            x = self._norm(f"{block}.attn_output_norm", x + self._attention(block, x))
            wide = self._linear(f"{block}.ffn_up", x)
            gelu = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
            x = self._norm(
                f"{block}.layer_output_norm", x + self._linear(f"{block}.ffn_down", gelu)
            )
        return x

    def _attention(self, block: str, x: np.ndarray) -> np.ndarray:
        q, k, v = (
            self._linear(f"{block}.attn_{name}", x).reshape(len(x), HEADS, -1).swapaxes(0, 1)
            for name in "qkv"
        )
        scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]))
        mixed = scores / scores.sum(-1, keepdims=True) @ v
        return self._linear(f"{block}.attn_output", mixed.swapaxes(0, 1).reshape(x.shape))

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled: np.ndarray = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]


@pytest.mark.parametrize("kind", ["bert", "bert-cls"])
def test_a_berts_vectors_are_those_of_an_independent_implementation(load_model, tiny, kind: str):
    model = load_model(model_path=str(tiny(kind)))
    inputs = [tokens_of(model, text) for text in TEXTS]
    for tokens, vector in zip(inputs, units(LlamaVectorRunner(model), inputs), strict=True):
        states = NumpyBert(tiny(kind)).states(tokens)
        expected = unit(states.mean(0) if kind == "bert" else states[0])
        assert np.abs(vector - expected).max() < NUMPY_TOLERANCE


def test_a_berts_inputs_begin_and_end_with_its_own_tokens(load_model, tiny):
    model = load_model(model_path=str(tiny("bert")))
    [unknown, cls, sep] = [1, 2, 3]
    the, cat = (tokens_of(model, word)[1] for word in ("the", "cat"))
    assert tokens_of(model, "the CAT €") == [cls, the, cat, unknown, sep]


@pytest.mark.parametrize("kind", [*EMBEDDING_ONLY, "recurrent", "sliding-window"])
def test_vectors_are_the_same_alone_together_and_in_any_order(load_model, tiny, kind: str):
    model = load_model(model_path=str(tiny(kind)), embeddings=True)
    runner = LlamaVectorRunner(model)
    draw = random.Random(4)
    inputs = [[draw.randrange(5, 30) for _ in range(length)] for length in (1, 9, 2, 17, 5)]
    alone = [units(runner, [tokens])[0] for tokens in inputs]
    for _ in range(4):
        order = draw.sample(range(len(inputs)), len(inputs))
        batches = [order] if runner.max_inputs > 1 else [[number] for number in order]
        for numbers in batches:
            together = units(runner, [inputs[number] for number in numbers])
            for number, vector in zip(numbers, together, strict=True):
                assert np.abs(vector - alone[number]).max() < BATCH_TOLERANCE
    for number, vector in enumerate(alone):
        others = np.array(alone[:number] + alone[number + 1 :])
        assert np.abs(others - vector).max(1).min() > 100 * BATCH_TOLERANCE


def test_last_token_pooling_takes_the_state_of_the_last_token(load_model, tiny):
    model = load_model(model_path=str(tiny("embedding-decoder")))
    before, longer = units(LlamaVectorRunner(model), [[5, 6, 7], [5, 6, 7, 8]])
    assert np.abs(before - longer).max() > 100 * BATCH_TOLERANCE
    [other_past] = units(LlamaVectorRunner(model), [[9, 6, 7]])
    assert np.abs(before - other_past).max() > 100 * BATCH_TOLERANCE


@pytest.mark.parametrize("kind", ["bert-cls", "encoder-cls", "bidirectional-cls"])
def test_the_first_token_of_an_encoder_sees_those_after_it(load_model, tiny, kind: str):
    runner = LlamaVectorRunner(load_model(model_path=str(tiny(kind))))
    one, other = units(runner, [[5, 6, 7], [5, 6, 8]])
    assert np.abs(one - other).max() > 20 * BATCH_TOLERANCE


# --- what is served --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EMBEDDING_ONLY)
def test_an_embedding_model_serves_embeddings_alone(load_model, tiny, kind: str):
    model = load_model(model_path=str(tiny(kind)))
    facts = model.facts(stall_seconds=1.0, load_seconds={})
    assert not facts.generates
    assert facts.embedding_size == EMBEDDING
    assert facts.num_kv_cells == 0
    assert facts.context_tokens == LlamaVectorRunner(model).max_tokens


@pytest.mark.parametrize("kind", EMBEDDING_ONLY)
def test_an_input_may_fill_the_whole_batch_and_so_may_many(load_model, tiny, kind: str):
    runner = LlamaVectorRunner(load_model(model_path=str(tiny(kind)), context_tokens=40))
    assert runner.max_tokens == 40
    assert runner.warm_up() < 5
    assert len(units(runner, [[7] * 40])) == 1
    assert len(units(runner, [[7]] * min(40, runner.max_inputs))) == min(40, runner.max_inputs)


@pytest.mark.parametrize("context_tokens", [63, 100, 300, 509])
@pytest.mark.parametrize("kind", ["bidirectional-decoder", "encoder"])
def test_any_number_of_tokens_will_do(load_model, tiny, kind: str, context_tokens: int):
    """llama.cpp aborts where its sequences cannot share them evenly."""
    model = load_model(model_path=str(tiny(kind)), context_tokens=context_tokens)
    assert model.embedding_context.max_tokens() == context_tokens
    assert context_tokens % model.embedding_context.max_sequences() == 0


def test_beside_generation_any_batch_will_do(load_model):
    model = load_model(embeddings=True, max_batch_tokens=100)
    assert model.embedding_context.max_tokens() == 100


def test_an_input_cannot_be_longer_than_what_a_model_has_positions_for(load_model, tiny, caplog):
    runner = LlamaVectorRunner(load_model(model_path=str(tiny("bert")), context_tokens=4096))
    assert runner.max_tokens == BERT_CONTEXT
    assert "inputs hold 48 tokens, not 4096" in caplog.text
    assert len(units(runner, [[7] * BERT_CONTEXT])) == 1


def test_a_chat_model_serves_embeddings_only_when_told(load_model):
    plain = load_model().facts(stall_seconds=1.0, load_seconds={})
    both = load_model(embeddings=True).facts(stall_seconds=1.0, load_seconds={})
    assert (plain.generates, plain.embedding_size) == (True, 0)
    assert (both.generates, both.embedding_size) == (True, 576)
    assert plain.num_kv_cells == both.num_kv_cells


@pytest.mark.parametrize(("options", "limit"), [({"max_batch_tokens": 64}, 64), ({}, 256)])
def test_beside_generation_an_input_is_no_longer_than_a_batch_or_the_context(
    load_model, options: dict[str, int], limit: int
):
    runner = LlamaVectorRunner(load_model(embeddings=True, **options))
    assert runner.max_tokens == limit
    assert len(units(runner, [[300] * limit])) == 1


def test_a_chat_model_generates_the_same_while_it_computes_embeddings(load_model):
    model = load_model(embeddings=True, max_batch_tokens=64)
    runner, vectors = LlamaRunner(model), LlamaVectorRunner(model)
    inputs = [tokens_of(model, text) for text in TEXTS]
    alone = [units(vectors, [tokens])[0] for tokens in inputs]
    expected = answer(runner, lambda: None)

    def embed() -> None:
        for vector, other in zip(units(vectors, inputs), alone, strict=True):
            assert np.abs(vector - other).max() < BATCH_TOLERANCE

    runner.truncate(0, 0)
    assert answer(runner, embed) == expected


def answer(runner: LlamaRunner, between) -> list[int]:
    tokens = list(range(300, 320))
    step: list[int] = tokens
    for _ in range(6):
        runner.fill([Chunk(0, len(tokens) - len(step), step, num_outputs=1)])
        runner.decode()
        step = [int(runner.logits(0).argmax())]
        tokens = tokens + step
        between()
    return tokens


def test_similar_texts_have_similar_vectors(load_model):
    model = load_model(embeddings=True)
    texts = ["The cat sleeps on the sofa.", "A cat is sleeping on a couch.", "def f(x): return x"]
    cat, kitten, code = units(LlamaVectorRunner(model), [tokens_of(model, text) for text in texts])
    assert cat @ kitten > cat @ code


def test_an_adapter_changes_the_vectors_too(load_model, tmp_path: Path):
    adapter = tmp_path / "adapter.gguf"
    tiny_models.write_adapter(adapter, layers=30, embedding=576)
    lora = (Adapter(str(adapter), 1.0),)
    plain, adapted = (
        units(LlamaVectorRunner(load_model(embeddings=True, lora=each)), [[300, 301, 302]])[0]
        for each in ((), lora)
    )
    assert np.abs(plain - adapted).max() > 20 * BATCH_TOLERANCE


# --- what is not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("reranker", "it is a reranker"),
        ("diffusion", "'llada' is a diffusion model"),
        ("encoder-decoder", "'t5' is an encoder-decoder"),
        ("unknown-pooling", "pooling type 7"),
    ],
)
def test_a_model_that_does_neither_is_refused_in_one_line(load_model, tiny, kind, reason):
    with pytest.raises(LoadError, match=f"cannot be served.*{reason}") as caught:
        load_model(model_path=str(tiny(kind)))
    assert "\n" not in caught.value.message
