"""Measuring takes nothing, and says what a real load takes: to the byte, on this machine."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gguf_deploy.planning.measuring import MEASURE_COMMAND, Measurer
from gguf_server.engine.llama.breakdown import breakdown
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.errors import MeasurementFailed
from gguf_server.knobs import Adapter, Knobs
from gguf_server.models.measurement import DeviceUse, Question, Topology
from tests.deploy.architectures import mamba
from tests.server.engine.llama import tiny_models
from tests.server.engine.llama.conftest import Load

Tiny = Callable[..., Path]
CPU = Topology()
SMALL = Knobs(context_tokens=256, slots=3)
ARCHITECTURES = (
    "llama",
    "mixture",
    "qwen3moe",
    "hybrid",
    "sliding-window",
    "recurrent",
    "bert",
    "encoder",
    "embedding-decoder",
    "bidirectional-decoder",
)
VARIANTS = {
    "split": SMALL,
    "unified": Knobs(context_tokens=320, slots=2, retained_prefixes=2, kv_layout="unified"),
    "quantized cache": Knobs(slots=2, cache_type_k="q8_0", cache_type_v="q4_0"),
    "without flash attention": Knobs(slots=2, flash_attention="off"),
    "embeddings too": Knobs(context_tokens=512, slots=2, embeddings=True, max_batch_tokens=128),
}


@pytest.fixture(scope="module")
def measurer() -> Iterator[Measurer]:
    with Measurer() as it:
        yield it


def really_used(load_model: Load, path: Path, knobs: Knobs) -> dict[str, DeviceUse]:
    """By name; the weights of the first context are those of all."""
    options = msgspec.structs.asdict(knobs)
    model = load_model(model_path=str(path), load_mode="none", **options)
    total: dict[str, DeviceUse] = {}
    for context in model.contexts:
        for use in breakdown(context):
            before = total.get(use.name, DeviceUse(use.name, use.is_host, 0, 0, 0))
            total[use.name] = DeviceUse(
                use.name,
                use.is_host,
                use.weights_bytes,
                before.cache_bytes + use.cache_bytes,
                before.compute_bytes + use.compute_bytes,
            )
    return total


def by_name(devices: tuple[DeviceUse, ...]) -> dict[str, DeviceUse]:
    return {use.name: use for use in devices}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_real_model_takes_what_was_measured(
    smollm2: Path, measurer: Measurer, load_model: Load, variant: str
):
    found = measurer.measure(CPU, Question(str(smollm2), VARIANTS[variant]))
    assert by_name(found.devices) == really_used(load_model, smollm2, VARIANTS[variant])
    assert sum(use.weights_bytes for use in found.devices) > 90_000_000


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_of_any_architecture_takes_what_was_measured(
    tiny: Tiny, measurer: Measurer, load_model: Load, architecture: str
):
    path = tiny(architecture)
    for knobs in (VARIANTS["split"], VARIANTS["unified"], VARIANTS["embeddings too"]):
        found = measurer.measure(CPU, Question(str(path), knobs))
        assert by_name(found.devices) == really_used(load_model, path, knobs), knobs


def test_the_facts_are_those_of_a_real_load(
    smollm2: Path, measurer: Measurer, any_layout: LlamaModel
):
    facts = any_layout.facts(stall_seconds=0.0, load_seconds={})
    knobs = Knobs(context_tokens=256, slots=3, retained_prefixes=1, max_batch_tokens=128)
    found = measurer.measure(CPU, Question(str(smollm2), knobs))
    assert found.context_tokens == facts.context_tokens
    assert found.train_context_tokens == facts.train_context_tokens
    assert (found.num_layers, found.generates) == (30, True)


def test_a_model_that_only_embeds_does_not_generate(tiny: Tiny, measurer: Measurer):
    found = measurer.measure(CPU, Question(str(tiny("bert")), SMALL))
    assert not found.generates
    assert found.context_tokens == tiny_models.BERT_CONTEXT
    assert sum(use.cache_bytes for use in found.devices) == 0


def test_the_output_buffer_is_what_llama_cpp_says_it_allocates(
    smollm2: Path, measurer: Measurer, load_model: Load
):
    lines: list[str] = []
    # With one token for each sequence, the buffer has its full size from the beginning.
    options = {"slots": 150, "context_tokens": 256, "max_batch_tokens": 1}
    load_model(sink=lambda _level, line: lines.append(line), **options)
    [said] = [line for line in lines if "output buffer size" in line]
    mebibytes = float(said.split("=")[1].split()[0])
    knobs = Knobs(slots=150, context_tokens=256, max_batch_tokens=1)
    found = measurer.measure(CPU, Question(str(smollm2), knobs))
    assert found.output_bytes == 150 * 49152 * 4
    assert found.output_bytes / 2**20 == pytest.approx(mebibytes, abs=0.01)


def test_scored_prompts_make_the_output_buffer_larger(smollm2: Path, measurer: Measurer):
    found = measurer.measure(CPU, Question(str(smollm2), SMALL))
    assert found.output_bytes == (3 + 64) * 49152 * 4


def test_an_adapter_adds_its_tensors_to_the_weights(
    tmp_path: Path, smollm2: Path, measurer: Measurer
):
    path = tmp_path / "adapter.gguf"
    tiny_models.write_adapter(path, layers=3, embedding=576)
    plain = measurer.measure(CPU, Question(str(smollm2), SMALL))
    knobs = msgspec.structs.replace(SMALL, lora=(Adapter(str(path)), Adapter(str(path))))
    adapted = measurer.measure(CPU, Question(str(smollm2), knobs))
    added = [
        after.weights_bytes - before.weights_bytes
        for before, after in zip(plain.devices, adapted.devices, strict=True)
    ]
    assert sum(added) == 2 * 3 * 2 * 4 * 576 * 4


def test_a_model_is_no_adapter(smollm2: Path, measurer: Measurer):
    knobs = msgspec.structs.replace(SMALL, lora=(Adapter(str(smollm2)),))
    with pytest.raises(MeasurementFailed, match="is no adapter; give a LoRA"):
        measurer.measure(CPU, Question(str(smollm2), knobs))


@pytest.mark.parametrize(
    ("architecture", "knobs", "words"),
    [
        ("encoder-decoder", SMALL, "'t5' is an encoder-decoder"),
        ("diffusion", SMALL, "is a diffusion model"),
        ("reranker", SMALL, "it is a reranker"),
        ("unknown-pooling", SMALL, "pooling type 7 is unknown"),
        ("llama", Knobs(slots=300), "300 sequences; llama.cpp has at most 256"),
        ("llama", Knobs(cache_type_v="q8_0", flash_attention="off"), "flash"),
        ("llama", Knobs(lora=(Adapter("/nowhere"),)), "/nowhere cannot be read"),
    ],
)
def test_what_the_engine_would_refuse_is_refused(
    tiny: Tiny, measurer: Measurer, architecture: str, knobs: Knobs, words: str
):
    with pytest.raises(MeasurementFailed, match=words) as raised:
        measurer.measure(CPU, Question(str(tiny(architecture)), knobs))
    assert "\n" not in raised.value.message


def test_a_header_without_its_data_is_refused(tmp_path: Path, smollm2: Path, measurer: Measurer):
    path = tmp_path / "cut.gguf"
    with smollm2.open("rb") as file:
        path.write_bytes(file.read(4 << 20))
    with pytest.raises(MeasurementFailed, match=r"Cannot load .*cut.gguf: .*file bounds"):
        measurer.measure(CPU, Question(str(path), SMALL))


def test_a_header_with_a_hole_is_as_good_as_the_file(
    tmp_path: Path, smollm2: Path, measurer: Measurer
):
    path = tmp_path / "hole.gguf"
    with smollm2.open("rb") as file:
        path.write_bytes(file.read(4 << 20))
    with path.open("r+b") as file:
        file.truncate(smollm2.stat().st_size)
    whole = measurer.measure(CPU, Question(str(smollm2), SMALL))
    assert measurer.measure(CPU, Question(str(path), SMALL)) == whole


# --- the process -------------------------------------------------------------------------------


def run(lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        MEASURE_COMMAND, input=lines, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_line_for_a_line_and_nothing_else(smollm2: Path):
    question = msgspec.json.encode(Question(str(smollm2), SMALL)).decode()
    nowhere = question.replace(str(smollm2), "/nowhere")
    done = run(f"{{}}\n{question}\n{nowhere}\n{question}\n")
    kinds = [msgspec.json.decode(line)["type"] for line in done.stdout.splitlines()]
    assert kinds == ["Measurement", "Unmeasurable", "Measurement"]
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_no_question_ends_it_with_one_line(smollm2: Path):
    done = run('{}\n{"model_path": 3}\n')
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no question" in done.stderr


def test_the_process_takes_none_of_the_memory_that_it_measures(tmp_path: Path):
    """Recurrent states are the ones that llama.cpp would really allocate and clear."""
    path = mamba().write(tmp_path / "mamba.gguf")
    one, many = (Question(str(path), Knobs(slots=slots, context_tokens=256)) for slots in (1, 60))
    with Measurer() as measurer:
        [state] = [use.cache_bytes for use in measurer.measure(CPU, one).devices if use.cache_bytes]
        found = sum(use.cache_bytes for use in measurer.measure(CPU, many).devices)
        [worker] = measurer._workers.values()
        status = Path(f"/proc/{worker._process.pid}/status").read_text()
    [peak_kib] = [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
    assert found == 60 * state > 1 << 30
    assert peak_kib < 300_000
