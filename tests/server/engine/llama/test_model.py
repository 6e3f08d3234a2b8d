"""Loading: options that must take effect, and files that must be refused in one clear line."""

import logging
import struct
from pathlib import Path

import numpy as np
import pytest

from gguf_server.engine.llama import binding
from gguf_server.engine.llama.model import LlamaModel, load
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.engine.runner import Chunk
from gguf_server.errors import LoadError
from gguf_server.knobs import Adapter
from gguf_server.wire.messages import EngineConfig
from tests.server.engine.llama import tiny_models

PROMPT = list(range(300, 340))


@pytest.fixture(scope="module")
def plain(smollm2: Path) -> np.ndarray:
    """What the model computes without any option."""
    config = EngineConfig(model_path=str(smollm2), context_tokens=256, slots=3)
    model = load(config, lambda _stage, _fraction: None)
    logits = last_logits(model)
    model.close()
    return logits


def last_logits(model: LlamaModel, tokens: list[int] = PROMPT) -> np.ndarray:
    runner = LlamaRunner(model)
    runner.fill([Chunk(0, 0, tokens, num_outputs=1)])
    runner.decode()
    return runner.logits(0)


def test_progress_goes_through_the_stages_and_never_back(smollm2: Path):
    seen: list[tuple[str, float]] = []
    config = EngineConfig(model_path=str(smollm2), context_tokens=256, slots=1)
    load(config, lambda stage, fraction: seen.append((stage, fraction))).close()
    assert [stage for stage, _ in seen] == ["weights"] * (len(seen) - 2) + ["context"] * 2
    weights = [fraction for stage, fraction in seen if stage == "weights"]
    assert weights == sorted(weights)
    assert weights[-1] == 1.0
    assert len(weights) <= 101


def test_a_listener_that_is_gone_ends_the_load(smollm2: Path):
    def broken(_stage: str, _fraction: float) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        load(EngineConfig(model_path=str(smollm2)), broken, sink=lambda _level, _line: None)


def test_the_facts_are_those_of_the_file(any_layout: LlamaModel):
    facts = any_layout.facts(stall_seconds=3.0, load_seconds={"weights": 0.5})
    assert facts.architecture == "llama"
    assert facts.vocab_size == 49152
    assert facts.train_context_tokens == 8192
    assert facts.context_tokens == 256
    assert facts.num_kv_cells == 256 * (4 if facts.kv_layout == "split" else 3)
    assert facts.prefix_reuse == ""
    assert facts.chat_template
    assert "im_start" in facts.chat_template
    assert facts.devices[0].startswith("CPU")
    assert 100_000_000 > facts.size_bytes > 80_000_000


def test_no_context_length_means_the_models_own_within_reason(load_model):
    assert load_model(context_tokens=0, slots=1).context_tokens == 4096


def test_a_sequence_cannot_hold_more_than_the_unified_cache(load_model):
    model = load_model(kv_layout="unified", context_tokens=4096, kv_cells=512)
    assert model.context_tokens == 512


@pytest.mark.parametrize("mode", ["none", "mmap", "auto"])
def test_every_load_mode_gives_the_same_logits(load_model, plain, mode: str):
    assert np.array_equal(last_logits(load_model(load_mode=mode)), plain)


def test_quantized_caches_work_with_flash_attention(load_model, plain):
    small = load_model(flash_attention="on", cache_type_k="q8_0", cache_type_v="q8_0")
    assert np.corrcoef(plain, last_logits(small))[0, 1] > 0.99


def test_a_quantized_v_cache_without_flash_attention_is_refused_with_advice(load_model):
    with pytest.raises(LoadError, match="flash") as caught:
        load_model(flash_attention="off", cache_type_v="q8_0")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "options",
    [
        {"rope_freq_base": 50_000.0},
        {"rope_freq_scale": 0.5},
        {"rope_scaling": "linear", "rope_freq_scale": 0.25},
        {"rope_scaling": "yarn", "rope_freq_scale": 0.25, "yarn_orig_ctx": 2048},
    ],
    ids=str,
)
def test_rope_settings_change_the_logits(load_model, plain, options: dict[str, float]):
    assert not np.array_equal(plain, last_logits(load_model(**options)))


def test_an_adapter_changes_the_logits_unless_its_scale_is_zero(load_model, plain, tmp_path: Path):
    adapter = tmp_path / "adapter.gguf"
    tiny_models.write_adapter(adapter, layers=30, embedding=576)
    adapted = last_logits(load_model(lora=(Adapter(str(adapter), 1.0),)))
    silent = last_logits(load_model(lora=(Adapter(str(adapter), 0.0),)))
    assert not np.allclose(plain, adapted, atol=1e-2)
    assert np.array_equal(plain, silent)


def test_an_adapter_of_another_model_is_named_in_the_error(load_model, tmp_path: Path):
    adapter = tmp_path / "wrong.gguf"
    tiny_models.write_adapter(adapter, layers=30, embedding=64)
    with pytest.raises(LoadError, match=r"wrong\.gguf.*shape.*Take the adapter"):
        load_model(lora=(Adapter(str(adapter), 1.0),))


def test_a_model_is_no_adapter(load_model, smollm2: Path):
    with pytest.raises(LoadError, match="Take a LoRA adapter"):
        load_model(lora=(Adapter(str(smollm2), 1.0),))


def test_a_missing_adapter_is_named_in_the_error(load_model):
    with pytest.raises(LoadError, match=r"/nowhere/lora\.gguf"):
        load_model(lora=(Adapter("/nowhere/lora.gguf", 1.0),))


def test_the_experts_of_the_first_layers_stay_on_the_cpu(load_model, tiny):
    lines: list[str] = []
    path = str(tiny("mixture"))
    model = load_model(model_path=path, n_cpu_moe=1, sink=lambda _level, line: lines.append(line))
    moved = [line.split()[1] for line in lines if "buffer type overridden to CPU" in line]
    expected = [f"blk.0.ffn_{name}_exps.weight" for name in ("down", "gate", "up")]
    assert sorted(moved) == expected
    plain = last_logits(load_model(model_path=path), [1, 5, 9])
    assert np.array_equal(last_logits(model, [1, 5, 9]), plain)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("qwen3moe", "attention"), ("sliding-window", "window"), ("recurrent", "recurrent"),
     ("hybrid", "hybrid")],
)  # fmt: skip
def test_each_kind_of_memory_is_recognised_and_decodes(
    load_model, tiny, architecture: str, kind: str
):
    model = load_model(model_path=str(tiny(architecture)))
    facts = model.facts(stall_seconds=3.0, load_seconds={})
    assert (facts.memory_kind, facts.prefix_reuse) == (kind, "")
    runner = LlamaRunner(model)
    assert runner.warm_up()[0] < 5
    alone = last_logits(model, [1, 5, 9])
    runner.truncate(0, 0)
    runner.fill([Chunk(slot, 0, [1, 5, 9], num_outputs=1) for slot in range(3)])
    runner.decode()
    assert np.isfinite(alone).all()
    for row in range(3):
        assert np.allclose(runner.logits(row), alone, atol=1e-3)


def test_a_wish_for_a_gpu_that_is_not_there_is_answered(load_model, caplog):
    if binding.can_offload():
        pytest.skip("this build has a GPU")
    load_model(n_gpu_layers=-1)
    assert not caplog.records
    load_model(n_gpu_layers=20)
    assert "everything runs on the CPU" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_a_gpu_that_is_asked_for_and_not_there_is_no_reason_to_use_the_cpu(load_model) -> None:
    with pytest.raises(LoadError, match=r"a GPU is asked for .* and none is visible: .*--gpus all"):
        load_model(device="gpu")
    assert load_model(device="cpu").generates


def truncated(real: bytes) -> bytes:
    return real[: len(real) // 2]


def cut_in_the_header(real: bytes) -> bytes:
    return real[:100_000]


def empty(_real: bytes) -> bytes:
    return b""


def web_page(_real: bytes) -> bytes:
    return b"<html>not found</html>" * 99


def from_the_future(real: bytes) -> bytes:
    return real[:4] + struct.pack("<I", 99) + real[8:100_000]


def of_unknown_architecture(real: bytes) -> bytes:
    return real.replace(struct.pack("<Q", 5) + b"llama", struct.pack("<Q", 5) + b"xlama", 1)


def without_a_tensor(real: bytes) -> bytes:
    return real.replace(b"blk.7.attn_q.weight", b"blk.7.attn_z.weight")


@pytest.mark.parametrize(
    ("broken", "pattern"),
    [
        (truncated, r"'blk\.\d+\.\w+\.weight' data is not within the file bounds.*fetch it again"),
        (cut_in_the_header, "failed to read.*fetch it again"),
        (empty, "failed to read magic"),
        (web_page, "invalid magic characters.*not a GGUF file"),
        (from_the_future, "version 99.*newer image"),
        (of_unknown_architecture, "unknown model architecture: 'xlama'.*newer image"),
        (without_a_tensor, r"blk\.7\.attn_q\.weight.*not found.*fetch it again"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(load_model, smollm2, tmp_path, broken, pattern):
    path = tmp_path / "bad.gguf"
    path.write_bytes(broken(smollm2.read_bytes()))
    with pytest.raises(LoadError, match=pattern) as caught:
        load_model(model_path=str(path))
    assert caught.value.message.startswith(f"Cannot load {path}: ")
    assert "\n" not in caught.value.message


def test_a_missing_file_is_refused(load_model, tmp_path: Path):
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(LoadError, match=r"failed to open GGUF file|failed to read|not a GGUF"):
            load_model(model_path=str(path))


def test_a_context_beyond_all_memory_is_refused_with_advice(load_model):
    with pytest.raises(LoadError, match=r"KV cells: .*allocate.*Lower the context"):
        load_model(context_tokens=10_000_000, slots=1, cache_type_k="f32", cache_type_v="f32")


def test_more_sequences_than_llama_cpp_has_are_refused(load_model):
    with pytest.raises(LoadError, match="at most 256"):
        load_model(slots=200, retained_prefixes=57)
