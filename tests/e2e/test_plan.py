"""``gguf-deploy plan`` as users type it, of models on a hub of ours, of which only headers move."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gguf_server.models.placement import loads
from gguf_server.models.reference import parse_reference
from tests.deploy.architectures import deepseek_671b, llama_moe, qwen2
from tests.e2e.conftest import HANG_SECONDS
from tests.hub.content import File
from tests.hub.server import Hub

GIB = 1 << 30
SHA256 = "0" * 64  # nobody reads 19 GB of holes


class Desk:
    """Somebody who plans."""

    def __init__(self, hub: Hub, directory: Path) -> None:
        self.hub = hub
        models = str(directory / "models")
        self.environment = hub.environment(directory / "home", GGUF_MODELS_DIR=models)
        self.directory = directory

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "gguf_deploy", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    def plan(self, *arguments: str) -> str:
        result = self.run("plan", *arguments)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def refused(self, code: int, *arguments: str) -> str:
        result = self.run("plan", *arguments)
        assert result.returncode == code, result.stderr
        [line] = result.stderr.splitlines()
        assert line.startswith("gguf-deploy: ")
        return line.removeprefix("gguf-deploy: ")


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 8 x 3B mixture of 18.4B parameters, and others of their true size: nearly all holes."""
    root = tmp_path_factory.mktemp("goods")
    llama_moe().write(root / "moe-Q8_0.gguf")
    qwen2().write(root / "qwen-Q4_K_M.gguf")
    deepseek_671b().write(root / "deepseek-Q4_K_M.gguf")
    return root


@pytest.fixture
def desk(tmp_path: Path, goods: Path) -> Iterator[Desk]:
    with Hub() as hub:
        moe, qwen = (goods / "moe-Q8_0.gguf", goods / "qwen-Q4_K_M.gguf")
        hub.repository("acme/moe-8x3b", {"moe-Q8_0.gguf": File(moe, claimed_sha256=SHA256)})
        several = {"m-Q8_0.gguf": moe, "m-Q4_K_M.gguf": qwen}
        hub.repository(
            "acme/several",
            {name: File(path, claimed_sha256=SHA256) for name, path in several.items()},
        )
        config = tmp_path / "config.json"
        config.write_text('{"architectures": ["LlamaForCausalLM"]}')
        hub.repository(
            "acme/plain",
            {"config.json": config, "model.safetensors": File(moe, claimed_sha256=SHA256)},
        )
        yield Desk(hub, tmp_path)


# --- the target of the system that this replaces -------------------------------------------------


@pytest.mark.parametrize(
    ("context", "offers"),
    [
        (8192, {"L4": 1, "L40S": 1, "A100-80GB": 1}),
        (32_768, {"L4": 2, "L40S": 1, "A100-80GB": 1}),
    ],
)
def test_the_mixture_of_18b_has_an_offer_of_24_48_and_80_gb(
    desk: Desk, context: int, offers: dict[str, int]
) -> None:
    header_bytes = 200_000
    for name, count in offers.items():
        asked = ("acme/moe-8x3b", "--context", str(context), "--parallel", "2", "--gpu", name)
        placement = loads(desk.plan(*asked, "--json"))
        assert placement.gpu is not None
        assert (placement.gpu.name, placement.gpu.count) == (name, count)
        assert placement.changes == ()
        weights = sum(need.parts[0].num_bytes for need in placement.devices)
        assert 17.7 * GIB < weights < 17.9 * GIB, "without the embeddings, which stay on the host"
        cache = sum(need.parts[1].num_bytes for need in placement.devices)
        assert cache == 2 * context * 28 * 2 * 8 * 128 * 2, "slots, tokens, layers, K and V, heads"
        assert all(need.fits for need in (*placement.devices, placement.host))
    assert desk.hub.bytes_sent() < header_bytes * len(offers)


def test_its_table_is_for_people(desk: Desk) -> None:
    text = desk.plan("acme/moe-8x3b", "--context", "8192", "--gpu", "T4,L4,L40S")
    reference, reason, about, options, _, heads, *rows = text.splitlines()
    assert parse_reference(reference) == parse_reference(
        f"acme/moe-8x3b@{desk.hub.repositories['acme/moe-8x3b'].refs['main']}:Q8_0"
    )
    assert reason == "Q8_0: the only model (19.6 GB)"
    assert about == "llama, 18.4 B parameters (5.7 B for each token), 28 layers"
    assert options.startswith("8 slots of 8192 tokens, cache f16; counted by llama.cpp ")
    assert heads.split()[:3] == ["OFFER", "NEEDS", "OF"]
    assert [row.split()[:4] for row in rows[:3]] == [
        ["2", "x", "T4", "14.3"],
        ["2", "x", "L4", "14.5"],
        ["*", "1", "x", "L40S"],
    ]
    assert "chosen: 1 x L40S" in rows
    assert rows[-2].startswith("fetched in about 3 min, then ready in ")
    assert rows[-1] == (
        f"run it: gguf-server serve {reference} --served-model-name acme/moe-8x3b --device gpu"
        " --context 8192"
    )


# --- what gives ----------------------------------------------------------------------------------


def test_experts_go_to_the_cpu_where_that_is_allowed(desk: Desk) -> None:
    asked = ("acme/moe-8x3b", "--gpu", "T4", "--max-gpus", "1", "--parallel", "1", "--json")
    placement = loads(desk.plan(*asked, "--allow-cpu-experts"))
    assert 0 < placement.knobs.n_cpu_moe <= 28
    assert placement.knobs.n_gpu_layers == -1
    [change] = placement.changes
    assert change.startswith(f"experts of {placement.knobs.n_cpu_moe} of 28 layers on the CPU: ")
    fewer = loads(desk.plan(*asked))
    assert fewer.knobs.n_cpu_moe == 0
    assert 0 < fewer.knobs.n_gpu_layers < 28


def test_any_quantization_will_do_if_it_is_said(desk: Desk) -> None:
    asked = ("acme/several", "--gpu", "T4", "--max-gpus", "1", "--parallel", "1")
    placement = loads(desk.plan(*asked, "--quant", "auto", "--json"))
    assert placement.model.label == "Q4_K_M"
    assert placement.changes == ("Q4_K_M instead of Q8_0, which does not fit",)
    named = loads(desk.plan(*asked, "--quant", "Q4_K_M", "--json"))
    assert (named.model.label, named.changes) == ("Q4_K_M", ())


def test_a_model_of_671b_takes_a_machine(desk: Desk, goods: Path) -> None:
    path = goods / "deepseek-Q4_K_M.gguf"
    placement = loads(desk.plan(str(path), "--context", "8192", "--prefer", "cost", "--json"))
    assert placement.gpu is not None
    assert placement.gpu.count >= 4
    assert placement.model.reference == str(path)
    assert "H200" in desk.plan(str(path), "--gpu", "H200")


# --- what others carry out -----------------------------------------------------------------------


def test_values_for_helm_name_commit_memory_and_budgets(desk: Desk) -> None:
    values = yaml.safe_load(desk.plan("acme/moe-8x3b", "--gpu", "L40S", "--format", "helm"))
    commit = desk.hub.repositories["acme/moe-8x3b"].refs["main"]
    assert values["model"]["revision"] == commit
    assert values["gpu"]["count"] == 1
    assert 20_000 << 20 < values["gpu"]["memoryBytes"] < 46_068 << 20
    assert (
        values["startupProbe"]["periodSeconds"] * values["startupProbe"]["failureThreshold"] >= 1800
    )


def test_an_override_for_compose_and_a_plan_for_modal(desk: Desk) -> None:
    asked = ("acme/moe-8x3b", "--gpu", "L40S", "--context", "8192")
    override = yaml.load(desk.plan(*asked, "--format", "compose"), Loader=_Loader)
    environment = override["services"]["server"]["environment"]
    assert environment["GGUF_CONTEXT"] == "8192"
    assert environment["GGUF_SERVED_MODEL_NAME"] == "acme/moe-8x3b"
    modal: dict[str, Any] = json.loads(desk.plan(*asked, "--format", "modal"))
    assert (modal["resources"]["gpu"], modal["max_inputs"]) == (["L40S"], 8)
    assert loads(environment.pop("GGUF_PLAN")) == loads(json.dumps(modal["placement"]))
    threads = {"GGUF_THREADS": str(modal["resources"]["cpu"])}
    assert modal["environment"] == environment | threads


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # has no types
    """Compose's tag, too."""


_Loader.add_constructor(
    "!override", lambda loader, node: loader.construct_sequence(node, deep=True)
)


# --- bad input -----------------------------------------------------------------------------------


def test_a_model_without_gguf_is_planned_for_vllm_by_an_estimate(desk: Desk) -> None:
    commit = desk.hub.repositories["acme/plain"].refs["main"]
    text = desk.plan("acme/plain", "--gpu", "L4,L40S")
    reference, about, estimate, *_, chosen, _ = text.splitlines()
    assert reference == f"acme/plain@{commit}"
    assert about == "no GGUF file, 19.6 GB of safetensors in one file: for vLLM"
    assert estimate.startswith("an estimate, not measured: ")
    assert chosen == "chosen: 1 x L40S"
    plan = json.loads(desk.plan("acme/plain", "--gpu", "L40S", "--json"))
    assert (plan["engine"], plan["model"]["commit"]) == ("vllm", commit)
    values = yaml.safe_load(desk.plan("acme/plain", "--gpu", "L40S", "--format", "helm"))
    assert (values["engine"], values["model"]["revision"]) == ("vllm", commit)
    assert "vllm:" in desk.plan("acme/plain", "--gpu", "L40S", "--format", "compose")
    assert desk.hub.bytes_sent("safetensors") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("acme/plain", "--format", "modal"), 2, "the Modal adapter serves no other"),
        (("acme/plain", "--gpu", "T4,cpu"), 11, "vLLM wants a GPU that computes bfloat16"),
        (("acme/plain", "--gpu", "L4", "--max-gpus", "1"), 11, "acme/plain fits nowhere: 1 x L4"),
        (("acme/plain:Q8_0",), 8, "has no GGUF file in it"),
        (("acme/plain", "--quant", "Q8_0"), 8, "has no GGUF file in it"),
    ],
)
def test_what_cannot_be_planned_for_vllm_is_one_line(
    desk: Desk, arguments: tuple[str, ...], code: int, why: str
) -> None:
    assert why in desk.refused(code, *arguments)


def test_what_fits_nowhere_says_what_is_lacking_and_what_to_try(desk: Desk) -> None:
    asked = ("acme/moe-8x3b", "--gpu", "T4", "--max-gpus", "1", "--host-memory", "1GB")
    result = desk.run("plan", *asked)
    assert result.returncode == 11
    assert "no: CUDA0 needs " in result.stdout
    [line] = result.stderr.splitlines()
    assert "fits nowhere: on 1 x T4 CUDA0 needs " in line
    assert line.endswith("--quant auto, more --host-memory, --allow-cpu-experts")
    code = json.loads(desk.run("plan", *asked, "--json").stdout)["error"]["code"]
    assert code == "does_not_fit"


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "there is no model to plan for"),
        (("acme/moe-8x3b", "--gpu", "L41"), 2, "did you mean L4?"),
        (("acme/moe-8x3b", "--storage", "floppy"), 2, "--storage needs one of nvme, pd"),
        (("acme/moe-8x3b", "--parallel", "0"), 2, "--parallel needs a whole number from 1"),
        (("acme/moe-8x3b", "--cluster", "--gpu", "L4"), 2, "leave --gpu out"),
        (("acme/nothing",), 8, "has no repository acme/nothing"),
        (("acme/moe-8x3b", "--offline"), 9, "was never fetched into"),
        (("/nowhere.gguf",), 3, "No such file or directory"),
    ],
)
def test_bad_input_is_one_line(desk: Desk, arguments: tuple[str, ...], code: int, why: str) -> None:
    assert why in desk.refused(code, *arguments)


def test_a_header_cut_short_is_one_line(desk: Desk, goods: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    with (goods / "moe-Q8_0.gguf").open("rb") as whole:
        path.write_bytes(whole.read(5000))
    assert "it ends at 5000 bytes, within its header" in desk.refused(3, str(path))


def test_a_header_that_llama_cpp_refuses_is_one_line(desk: Desk, tmp_path: Path) -> None:
    model = llama_moe()
    broken = type(model)("nonsense", model.keys, model.shapes)
    line = desk.refused(11, str(broken.write(tmp_path / "odd.gguf")))
    assert "unknown model architecture: 'nonsense'" in line


def test_a_hub_that_is_down_is_one_line(desk: Desk) -> None:
    desk.hub.vanish()
    assert "cannot be reached" in desk.refused(9, "acme/moe-8x3b")
