"""A model that has no room is refused before its weights are read."""

import json
import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_server.engine.host_memory import HostMemory
from gguf_server.engine.llama import room
from gguf_server.engine.llama.room import check_room
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.errors import DoesNotFit
from gguf_server.wire.messages import EngineConfig
from tests.deploy.architectures import mamba

HANG_SECONDS = 120
# With simulated GPUs, which a process cannot get rid of: what is said and what is logged.
WITH_GPUS = """
import json, logging, sys
import msgspec
from gguf_server.engine.llama import binding
from gguf_server.engine.llama.devices import register
from gguf_server.engine.llama.room import check_room
from gguf_server.errors import DoesNotFit
from gguf_server.models.measurement import SimulatedGpu
from gguf_server.wire.messages import EngineConfig

logging.basicConfig(format="%(levelname)s %(message)s", level="INFO")
binding.start(lambda *_: None, lambda _: None)
config = msgspec.json.decode(sys.argv[1], type=EngineConfig)
register([SimulatedGpu("small", size, size) for size in json.loads(sys.argv[2])])
try:
    check_room(config)
except DoesNotFit as exc:
    print(exc.message)
"""
MIB = 1 << 20


def config(model_path: Path, **about: object) -> EngineConfig:
    options = {"context_tokens": 2048, "slots": 4} | about
    return EngineConfig(model_path=str(model_path), **options)  # type: ignore[arg-type]


def with_gpus(asked: EngineConfig, *sizes: int) -> tuple[str, str]:
    """What check_room says, and what it logs."""
    import msgspec  # noqa: PLC0415

    result = subprocess.run(
        [sys.executable, "-c", WITH_GPUS, msgspec.json.encode(asked), json.dumps(sizes)],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_SECONDS,
    )
    return result.stdout.strip(), result.stderr.strip()


def test_what_fits_is_not_remarked_upon(smollm2: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    check_room(config(smollm2, slots=1, context_tokens=9000))  # more than it was trained on
    assert caplog.messages == []


def test_too_little_host_memory_is_an_error_with_the_numbers(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "read_host_memory", lambda **_: HostMemory(64 * MIB))
    with pytest.raises(DoesNotFit) as caught:
        check_room(config(smollm2))
    said = caught.value.message
    assert said.startswith(f"{smollm2} does not fit: the host needs 0.")
    assert " GiB and has 0.1 GiB free (weights 0." in said
    assert "KV cache 0.2 GiB" in said
    assert "--memory-check off" in said
    assert "\n" not in said


def test_weights_that_are_mapped_from_the_file_need_no_room(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the 97 MB in the file nothing counts but what a CPU repacks."""
    monkeypatch.setattr(room, "read_host_memory", lambda **_: HostMemory(240 * MIB))
    check_room(config(smollm2))
    with pytest.raises(DoesNotFit, match=r"weights 0\.1 GiB"):
        check_room(config(smollm2, load_mode="none"))


def test_a_gpu_that_is_too_small_is_named(smollm2: Path) -> None:
    said, logged = with_gpus(config(smollm2), 100 * MIB)
    assert "does not fit: CUDA0 needs 0.3 GiB and has 0.1 GiB free (weights 0.1 GiB" in said
    assert logged.startswith("ERROR CUDA0 needs 0.3 GiB")


def test_each_gpu_that_is_too_small_is_logged(smollm2: Path) -> None:
    _, logged = with_gpus(config(smollm2), 50 * MIB, 50 * MIB)
    assert [line.split()[1] for line in logged.splitlines()] == ["CUDA0", "CUDA1"]


def test_gpus_with_room_are_fine(smollm2: Path) -> None:
    assert with_gpus(config(smollm2), 1024 * MIB, 1024 * MIB) == ("", "")


def test_what_differs_from_the_plan_is_told(smollm2: Path) -> None:
    said, logged = with_gpus(config(smollm2, planned_bytes=(100 * MIB,)), 1024 * MIB)
    assert said == ""
    assert logged == "WARNING CUDA0 needs 0.3 GiB here, and 0.1 GiB in the plan"
    _, logged = with_gpus(config(smollm2, planned_bytes=(1, 2)), 1024 * MIB)
    assert "WARNING the plan is for 2 GPUs, and 1 are here" in logged


def test_what_cannot_be_measured_is_left_to_the_load(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    check_room(config(broken))
    [line] = caplog.messages
    assert line.startswith("whether the model fits was not checked: ")


def test_what_is_asked_takes_no_memory_itself(tmp_path: Path) -> None:
    """llama.cpp allocates recurrent states whatever it is told: here 2.4 GiB of them."""
    path = mamba().write(tmp_path / "mamba.gguf")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_room(config(path, slots=120))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10


def test_what_was_asked_leaves_the_real_load_as_it_was(smollm2: Path, load_model) -> None:
    check_room(config(smollm2))
    model = load_model(model_path=str(smollm2))
    assert LlamaRunner(model).warm_up()[0] > 0
