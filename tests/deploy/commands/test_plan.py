"""``gguf-deploy plan``: what is asked of llama.cpp, and what becomes of its answer."""

from pathlib import Path

import msgspec
import pytest
import yaml

from gguf_deploy.commands.plan import plan
from gguf_deploy.planning.measuring import Measurer
from gguf_deploy.settings import PlanSettings
from gguf_server.errors import MeasurementFailed, SettingsError
from gguf_server.models.measurement import Measurement, Question, Topology
from gguf_server.models.placement import Placement, loads
from tests.deploy.architectures import llama_moe


@pytest.fixture(scope="module")
def moe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(llama_moe().write(tmp_path_factory.mktemp("moe") / "moe-Q8_0.gguf"))


def planned(capsys: pytest.CaptureFixture[str], model: str, **flags: str) -> Placement:
    plan(PlanSettings.read({"model": model, "json": "on", "slots": "2"} | flags, {}))
    return loads(capsys.readouterr().out)


def test_layers_are_divided_as_they_were_counted(moe: str, capsys) -> None:
    two = planned(capsys, moe, gpu="L4", context="32768")
    assert two.knobs.tensor_split == (1.0, 1.0)
    assert planned(capsys, moe, gpu="L40S").knobs.tensor_split == ()


def test_what_was_left_to_the_model_is_spelled_out(moe: str, capsys) -> None:
    assert planned(capsys, moe, gpu="L40S").knobs.context_tokens == 4096


def test_the_chosen_one_is_counted_again_with_gpus_of_its_size(
    moe: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Measurer.measure
    topologies: list[Topology] = []

    def otherwise(self: Measurer, topology: Topology, question: Question) -> Measurement:
        topologies.append(topology)
        found = real(self, topology, question)
        if question.num_gpus is None:
            devices = tuple(msgspec.structs.replace(use, weights_bytes=1) for use in found.devices)
            return msgspec.structs.replace(found, devices=devices)
        return found

    monkeypatch.setattr(Measurer, "measure", otherwise)
    with pytest.raises(MeasurementFailed, match="counts otherwise on 1 x L40S than on larger"):
        planned(capsys, moe, gpu="L40S")
    [gpu] = topologies[-1].gpus
    assert gpu.free_bytes == gpu.total_bytes == 46_068 << 20


def test_a_gpu_starts_otherwise_than_a_cpu(moe: str, capsys) -> None:
    on_gpu = planned(capsys, moe, gpu="L40S")
    on_cpu = planned(capsys, moe, gpu="cpu")
    assert (on_cpu.gpu, on_cpu.devices, on_cpu.speed) == (None, (), None)

    def seconds(placement: Placement) -> dict[str, float]:
        return {stage.name: stage.seconds for stage in placement.startup.stages}

    assert seconds(on_gpu)["process"] > seconds(on_cpu)["process"]
    assert "fetch" not in seconds(on_gpu), "a file is here already"


def test_values_for_helm_name_all_kinds_that_would_do_and_no_label_of_others(
    moe: str, capsys
) -> None:
    flags = {"model": moe, "slots": "8", "context": "16384", "format": "helm", "max_gpus": "1"}
    plan(PlanSettings.read(flags, {}))
    labels = yaml.safe_load(capsys.readouterr().out)["gpu"]["nodeLabels"]
    assert "nvidia-l4" not in labels["gke"], "it has too little memory"
    assert "nvidia-h100-80gb" in labels["gke"]
    only_80 = dict(flags, gpu="A100-80GB,H100")
    plan(PlanSettings.read(only_80, {}))
    labels = yaml.safe_load(capsys.readouterr().out)["gpu"]["nodeLabels"]
    assert "nvidia-a100-80gb" in labels["gke"]
    assert "a100" in labels["aws"], "that of 40 GB is called so, too; AWS labels the memory as well"


def test_modal_is_offered_what_modal_has(moe: str, capsys) -> None:
    plan(PlanSettings.read({"model": moe, "slots": "2", "format": "modal"}, {}))
    [only] = msgspec.json.decode(capsys.readouterr().out)["resources"]["gpu"]
    assert only, "none that nobody named: it may cost several times as much"


def test_gpus_that_were_named_are_modals_second_choice(moe: str, capsys) -> None:
    flags = {"model": moe, "slots": "2", "format": "modal", "gpu": "T4,H100,L40S"}
    plan(PlanSettings.read(flags, {}))
    chosen, *others = msgspec.json.decode(capsys.readouterr().out)["resources"]["gpu"]
    assert chosen == "L40S"
    assert others == ["H100"], "one T4 is not enough"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"quant": "auto,Q4_K_M"}, "--quant auto takes any quantization"),
        ({"max_batch_tokens": "16", "slots": "64"}, "--max-batch-tokens 16 is less than --paral"),
        ({"kv_type": "iq4_nl"}, "--kv-type iq4_nl has no kernel on GPUs"),
    ],
)
def test_what_the_server_would_refuse_is_not_planned(flags: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        PlanSettings.read({"model": "org/repo"} | flags, {})
    assert PlanSettings.read({"model": "x/y", "kv_type": "iq4_nl", "gpu": "CPU"}, {}).kv_type


@pytest.mark.parametrize("word", ["auto", "AUTO"])
def test_auto_is_a_word_however_it_is_written(word: str) -> None:
    assert PlanSettings.read({"model": "org/repo", "quant": word}, {}).takes_any_quantization


def test_a_cache_that_nothing_can_count_is_refused(moe: str, capsys) -> None:
    for context in ("1000000000", "536870912"):
        with pytest.raises(MeasurementFailed, match="cells is asked for"):
            planned(capsys, moe, gpu="L40S", context=context)


def test_the_prices_of_a_file_decide(moe: str, capsys, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("H200 = 0.1")
    found = planned(capsys, moe, prefer="cost", prices=str(path))
    assert found.gpu is not None
    assert (found.gpu.name, found.price_per_hour) == ("H200", 0.1)
