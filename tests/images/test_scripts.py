"""The scripts around the image, as far as they need no Docker Engine."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_server import __version__
from tests.images.conftest import ROOT

SCRIPTS = ROOT / "scripts"
Completed = subprocess.CompletedProcess[str]


def call(script: str, *arguments: str, **environ: str) -> Completed:
    return subprocess.run(
        [str(SCRIPTS / script), *arguments],
        env={**os.environ, "DOCKER": "", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def put(directory: Path, name: str, *lines: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def client(directory: Path, version: str, *, has_buildx: bool, answers: bool = True) -> Path:
    """A docker of some version."""
    server = f"echo {version}" if answers else "echo no daemon >&2; exit 1"
    return put(
        directory,
        "docker",
        'case "$*" in',
        f"  *Client.Version*) echo {version} ;;",
        f"  *Server.Version*) {server} ;;",
        f"  buildx*) exit {int(not has_buildx)} ;;",
        f'  *) echo "$DOCKER_BUILDKIT {version} $*" ;;',
        "esac",
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with two directories of ours in front, and no docker of this machine."""
    for name in ("bash", "dirname", "sh", "type"):
        found = Path("/bin") / name
        if found.exists():
            (tmp_path / "tools").mkdir(exist_ok=True)
            (tmp_path / "tools" / name).symlink_to(found)
    return f"{tmp_path}/first:{tmp_path}/second:{tmp_path}/tools"


def test_a_docker_that_cannot_build_does_not_hide_one_that_can(tmp_path: Path, path: str) -> None:
    client(tmp_path / "first", "28.2.2", has_buildx=False)
    older = client(tmp_path / "second", "20.10.24+dfsg1", has_buildx=False)
    assert call("docker", "--which", PATH=path).stdout == f"{older}\n"
    assert call("docker", "build", ".", PATH=path).stdout == "1 20.10.24+dfsg1 build .\n"


def test_a_new_docker_with_buildx_will_do(tmp_path: Path, path: str) -> None:
    newer = client(tmp_path / "first", "28.2.2", has_buildx=True)
    client(tmp_path / "second", "20.10.24", has_buildx=False)
    assert call("docker", "--which", PATH=path).stdout == f"{newer}\n"


def test_without_a_docker_or_its_engine_it_is_one_line_that_says_what_to_do(
    tmp_path: Path, path: str
) -> None:
    missing = call("docker", "--which", PATH=path)
    assert missing.returncode == 1
    assert "apt-get install docker.io" in missing.stderr
    client(tmp_path / "first", "20.10.24", has_buildx=False, answers=False)
    silent = call("docker", "--which", PATH=path)
    assert (silent.returncode, silent.stdout) == (1, "")
    [line] = silent.stderr.splitlines()
    assert "no Docker Engine answers" in line


def test_the_base_image_is_left_alone_where_it_is(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    fake = put(tmp_path, "docker", f'echo "$*" >>{asked}')
    assert call("base-image", DOCKER=str(fake)).returncode == 0
    assert asked.read_text() == "image inspect debian:bookworm-slim\n"


def test_a_registry_that_can_be_reached_is_asked_first(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    fake = put(tmp_path, "docker", f'echo "$*" >>{asked}', 'test "$2" != inspect')
    assert call("base-image", DOCKER=str(fake)).returncode == 0
    assert asked.read_text().splitlines()[1:] == ["pull --quiet debian:bookworm-slim"]


def test_a_portable_build_is_for_avx2_and_nothing_newer() -> None:
    flags = call("cpu-flags", "--portable").stdout.split()
    assert "-DGGML_NATIVE=OFF" in flags
    if os.uname().machine == "x86_64":
        on = {flag.removeprefix("-DGGML_").removesuffix("=ON") for flag in flags if "=ON" in flag}
        assert on == {"SSE42", "AVX", "F16C", "FMA", "BMI2", "AVX2"}
        assert "-DGGML_AVX512=OFF" in flags


def test_gpus_are_named_by_number_and_get_machine_code() -> None:
    flags = call("cuda-flags", "75;90").stdout.split()
    assert "-DCMAKE_CUDA_ARCHITECTURES=75-real;90-real" in flags
    assert "-DGGML_CUDA_NO_VMM=ON" in flags, "else nothing starts without a driver"
    for wrong in ("", "75 90", "75,90", ";75", "75;", "sm_90"):
        done = call("cuda-flags", wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("cuda-flags: architectures are numbers with a ; between")


def test_a_wheel_that_is_not_there_is_not_compiled_where_only_asked_for(tmp_path: Path) -> None:
    options = ("--portable", "--cuda", "90", "--cached")
    done = call("build-wheel", *options, XDG_CACHE_HOME=str(tmp_path), PYTHON="/none")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.fixture
def ci_cuda(tmp_path: Path) -> Callable[..., Completed]:
    """The script among others that only say that they were called."""
    directory = tmp_path / "scripts"

    def run(*, has_wheel: bool, **environ: str) -> Completed:
        put(directory, "build-wheel", f"test $3 = 90 && test $4 = --cached && exit {1 - has_wheel}")
        put(directory, "images", 'echo "images $* $CUDA_ARCHS"')
        put(directory, "cuda-toolkit", "echo no toolkit >&2", "exit 1")
        shutil.copy(SCRIPTS / "ci-cuda", directory)
        return call(str(directory / "ci-cuda"), **{"CUDA": "", "CUDA_ARCHS": ""} | environ)

    return run


def test_ci_builds_the_image_for_gpus_where_its_engine_is_compiled(ci_cuda) -> None:
    done = ci_cuda(has_wheel=True)
    assert done.returncode == 0, done.stderr
    said, image = done.stdout.splitlines()
    assert said.startswith("ci-cuda: gguf-server:cuda for architecture 90 is built here")
    assert image == "images cuda 90"
    assert ci_cuda(has_wheel=False, CUDA="1").stdout.endswith("images cuda 90\n")


def test_ci_says_that_it_only_proves_the_toolkit_and_fails_where_that_fails(ci_cuda) -> None:
    done = ci_cuda(has_wheel=False)
    assert done.returncode == 1
    [said] = done.stdout.splitlines()
    assert said.startswith("ci-cuda: no engine for GPUs is compiled here; CUDA=1 does. Instead ")
    assert done.stderr == "no toolkit\n"


def test_a_wrong_option_of_build_wheel_is_refused() -> None:
    done = call("build-wheel", "--protable")
    assert (done.returncode, done.stderr) == (2, "build-wheel: there is no option --protable\n")


def test_there_is_no_image_of_another_kind(tmp_path: Path) -> None:
    fake = put(tmp_path, "docker", "exit 0")
    done = call("images", "tpu", DOCKER=str(fake))
    assert (done.returncode, done.stderr) == (
        2,
        "images: there is no image tpu; there are cpu and cuda\n",
    )


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("libm.so.6 => /lib/libm.so.6 (0x0)", 0),
        ("libllama.so: /lib/libm.so.6: version `GLIBC_2.38' not found (required by it)", 1),
        ("libgomp.so.1 => not found", 1),
    ],
)
def test_a_wheel_of_a_newer_system_is_refused_with_the_reason(
    tmp_path: Path, answer: str, status: int
) -> None:
    put(tmp_path, "ldd", f'echo "{answer.replace("`", "")}"')
    done = call(
        "../images/server/build/loads", "libllama.so", PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert done.returncode == status
    assert ("newer than Debian 12" in done.stderr) == bool(status)


ENGINE = """#!/bin/sh
case $1 in
  --which) echo "$0" ;;
  build) echo "$@" ;;
  image) echo 100 ;;
esac
"""


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("", ["gguf-server:cpu", f"gguf-server:{__version__}-cpu"]),
        ("r.io/mine:1", ["r.io/mine:1"]),
    ],
)
def test_an_image_has_the_tag_that_the_chart_asks_for(
    tag: str, tags: list[str], tmp_path: Path
) -> None:
    """By the script itself, where everything that it calls is a stub."""
    for name in ("base-image", "build-wheel", "apt-mirror"):
        put(tmp_path / "scripts", name)
    put(tmp_path / "scripts", "docker").write_text(ENGINE)
    for file in ("scripts/images", "server/gguf_server/__init__.py", "images/server/sizes"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "build" / "images").mkdir(parents=True)
    environ = {**os.environ, "TAG": tag}
    script = [str(tmp_path / "scripts" / "images"), "cpu"]
    done = subprocess.run(script, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "build" / "images" / "cpu.log").read_text().split()
    given = [words[i + 1] for i, word in enumerate(words) if word == "--tag"]
    assert given == tags
