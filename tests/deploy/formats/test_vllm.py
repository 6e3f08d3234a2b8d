"""What carries a plan for vLLM out."""

from dataclasses import replace

import yaml

from gguf_deploy.formats.vllm import compose_override, helm_values
from gguf_deploy.hardware import GPUS
from tests.deploy.planning.vllm_plans import COMMIT, SMALL, ask, planned


def test_values_for_helm_choose_the_engine_and_pin_the_commit() -> None:
    text = helm_values(
        planned(asked=ask("L40S")), [gpu for gpu in GPUS if gpu.gke], "gguf-deploy plan"
    )
    values = yaml.safe_load(text)
    assert values["engine"] == "vllm"
    assert values["model"] == {"name": "acme/m", "revision": COMMIT, "sizeBytes": 16_000_000_000}
    assert values["server"] == {"extraArgs": ["--max-model-len=4096", "--max-num-seqs=8"]}
    assert (values["gpu"]["count"], values["gpu"]["name"]) == (1, "L40S")
    assert "nvidia-l4" in values["gpu"]["nodeLabels"]["gke"]
    assert "volume" not in values, "the chart follows model.sizeBytes"
    assert "an estimate, not measured" in text


def test_an_override_for_compose_is_of_the_service_vllm() -> None:
    large = replace(SMALL, size_bytes=140_000_000_000)
    text = compose_override(planned(large, ask("A100-80GB")), "gguf-deploy plan")
    service = yaml.safe_load(text.replace("!override", ""))["services"]["vllm"]
    assert service["environment"] == {
        "VLLM_MODEL": "acme/m",
        "VLLM_ARGS": f"--revision={COMMIT} --max-model-len=4096 --max-num-seqs=8"
        " --tensor-parallel-size=4",
    }
    [gpus] = service["deploy"]["resources"]["reservations"]["devices"]
    assert gpus["count"] == 4
    assert "an estimate, not measured" in text
