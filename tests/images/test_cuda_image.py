"""The image for GPUs, on a machine without: it is whole, it refuses, and it can be told not to.

Where its engine is not compiled these tests are left out; see conftest.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.images.conftest import (
    BASE,
    CUDA_ARCHS,
    HARDENED,
    Container,
    Engine,
    build,
    build_image,
    require_engine,
    until,
)
from tests.images.inside import (
    SITE,
    added_files,
    assert_every_library_is_there_once,
    assert_it_answers,
    assert_it_is_for_any_cpu_from_avx2_on,
    assert_the_bill_is_what_is_installed,
    recorded_sizes,
    shell,
)

require_engine()
pytestmark = [pytest.mark.docker, pytest.mark.slow]

MOST_ADDED_BYTES = 1_100_000_000
LIBRARIES = f"{SITE}/llama_cpp/lib"
ON_CPU = ("--env", "GGUF_DEVICE=cpu")
CANNOT_LOAD = 4


@pytest.fixture(scope="session")
def cuda(docker: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """As ``image``."""
    return build("cuda", tmp_path_factory.mktemp("image"))


def test_without_a_gpu_it_refuses_and_says_what_to_do(
    engine: Engine, cuda: str, smol: tuple[str, ...]
) -> None:
    done = engine.run(*HARDENED, *smol, cuda)
    assert done.returncode == CANNOT_LOAD, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gguf-server: a GPU is asked for (--device gpu), and none is visible: ")
    assert "docker run --gpus all" in last
    assert "Traceback" not in done.stderr


def test_on_a_cpu_it_serves_where_that_is_wanted(
    engine: Engine, cuda: str, smol: tuple[str, ...]
) -> None:
    often = ("--health-interval", "1s")
    container = Container(engine, cuda, (*HARDENED, *often, *smol, *ON_CPU), ())
    assert_it_answers(container)
    until(lambda: container.state["Health"]["Status"] == "healthy", "it is healthy")


def test_it_plans_for_gpus_that_are_not_there(
    engine: Engine, cuda: str, smol: tuple[str, ...]
) -> None:
    script = 'exec gguf-deploy plan "$MODEL_NAME" --gpu L4 --json'
    plan = json.loads(shell(engine, cuda, script, *HARDENED, *smol))
    assert plan["gpu"]["name"] == "L4"
    [device] = plan["devices"]
    assert {part["name"] for part in device["parts"]} >= {"weights", "KV cache", "compute"}


def test_every_library_that_is_linked_is_there(engine: Engine, cuda: str) -> None:
    """The driver's is not linked: CUDA's runtime looks for it, and does without."""
    found = shell(engine, cuda, f"ldd {LIBRARIES}/*.so*")
    assert "not found" not in found
    for name in ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13"):
        assert f"{name} => {LIBRARIES}/" in found
    assert "libcuda.so" not in found


def test_nothing_to_compile_with_is_inside(engine: Engine, cuda: str) -> None:
    commands = "cc g++ ld nvcc ptxas cicc make cmake pip"
    assert shell(engine, cuda, f"for each in {commands}; do command -v $each; done; true") == ""
    sources = "-name '*.cuh' -o -name '*.h' -o -name '*.a' -o -name 'libnv*' -o -name nvcc"
    assert shell(engine, cuda, f"find /opt /usr/local \\( {sources} \\)") == ""


def test_the_container_toolkit_is_asked_for_gpus(engine: Engine, cuda: str) -> None:
    config = engine.inspect("image", cuda)["Config"]
    variables = dict(each.split("=", 1) for each in config["Env"])
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert variables["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert variables["NVIDIA_REQUIRE_CUDA"] == "cuda>=13.0"
    assert variables["GGUF_DEVICE"] == "gpu"
    assert config["Entrypoint"] is None
    assert config["User"] == "10001:0"
    assert config["Healthcheck"]["Test"] == ["CMD", "healthcheck"]
    licence = config["Labels"]["org.opencontainers.image.licenses"]
    assert licence == "Apache-2.0 AND LicenseRef-NVIDIA-CUDA"


def test_every_library_is_there_once(cuda: str) -> None:
    assert_every_library_is_there_once(cuda, "libggml-cuda.so", "libggml-cpu.so")


def test_llama_cpp_is_compiled_for_any_cpu_from_avx2_on(
    engine: Engine, cuda: str, tmp_path: Path
) -> None:
    assert_it_is_for_any_cpu_from_avx2_on(engine, cuda, tmp_path)


def test_it_looks_for_libraries_only_beside_itself(
    engine: Engine, cuda: str, tmp_path: Path
) -> None:
    container = engine.output("create", *engine.labels, cuda)
    library = tmp_path / "libggml-cuda.so"
    engine.call("cp", f"{container}:{LIBRARIES}/libggml-cuda.so", str(library))
    lines = subprocess.check_output(["objdump", "--private-headers", library], text=True)
    assert [line.split()[1] for line in lines.splitlines() if "PATH " in line] == ["$ORIGIN"]


def test_the_bill_of_materials_is_what_is_installed(engine: Engine, cuda: str) -> None:
    assert_the_bill_is_what_is_installed(engine, cuda, "run", "cuda-run")


def test_it_is_no_larger_than_written_down(engine: Engine, cuda: str) -> None:
    added = engine.inspect("image", cuda)["Size"] - engine.inspect("image", BASE)["Size"]
    assert added <= MOST_ADDED_BYTES
    assert abs(added - recorded_sizes()[f"cuda-{CUDA_ARCHS}"]) < added / 10


def test_all_but_the_engine_is_the_other_image_s_too(engine: Engine, cuda: str, image: str) -> None:
    """By content: layers carry the time of their build, so those of two builds differ."""
    apart = set(added_files(image)) - set(added_files(cuda))
    assert apart
    assert [
        line for line in apart if "/llama_cpp" not in line and "/sbom.cdx.json" not in line
    ] == []
    layers, others = (engine.inspect("image", each)["RootFS"]["Layers"] for each in (cuda, image))
    assert len(others) == len(layers) - 1, "NVIDIA's libraries"


def test_two_builds_give_the_same_files(engine: Engine, cuda: str) -> None:
    other = f"{engine.name}:again"
    build_image("--no-cache", kind="cuda", TAG=other)
    try:
        assert engine.inspect("image", other)["Id"] != engine.inspect("image", cuda)["Id"]
        assert added_files(other) == added_files(cuda)
    finally:
        engine.call("image", "rm", "--force", other)
