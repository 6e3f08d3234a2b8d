"""The image: what is in it, what is not, and that it serves where little is allowed."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest

from gguf_server import __version__
from tests.hub.content import File
from tests.hub.server import Hub
from tests.images.conftest import (
    BASE,
    HANG_SECONDS,
    HARDENED,
    ROOT,
    Engine,
    Start,
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
pytestmark = pytest.mark.docker

MOST_ADDED_BYTES = 180_000_000


@pytest.mark.parametrize("command", ["gguf-server", "gguf-deploy"])
def test_both_commands_are_inside(engine: Engine, image: str, command: str) -> None:
    done = engine.run(image, command, "--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_what_is_given_is_what_runs_as_process_1(engine: Engine, image: str) -> None:
    assert engine.run(image, "python", "-V").stdout.startswith("Python 3.11.")
    code = "import os; print(os.getpid())"
    assert engine.run(image, "python", "-c", code).stdout == "1\n"


def test_it_runs_as_a_user_without_privileges_of_group_0(engine: Engine, image: str) -> None:
    assert shell(engine, image, "id -u; id -g; id -G").split() == ["10001", "0", "0"]
    assert engine.inspect("image", image)["Config"]["User"] == "10001:0"
    found = shell(engine, image, "find / -xdev -writable ! -type l 2>/dev/null; true")
    places = {path for path in found.split() if not path.startswith(("/dev", "/proc"))}
    assert places == {"/models", "/run/lock", "/tmp", "/var/tmp"}


def test_it_serves_with_a_read_only_root_and_no_capabilities(
    start: Start, smol: tuple[str, ...]
) -> None:
    assert_it_answers(start(*HARDENED, *smol))


def test_nothing_is_written_outside_of_tmp(start: Start, smol: tuple[str, ...]) -> None:
    container = start("--tmpfs", "/tmp", *smol)
    assert_it_answers(container)
    assert container.changed_files == []


@pytest.mark.parametrize("user", ["10001:0", "1234567:0"])
def test_a_new_volume_can_be_written_to_by_any_user_of_group_0(
    engine: Engine, image: str, user: str
) -> None:
    volume = engine.volume("models")
    options = (*HARDENED, "--volume", f"{volume}:/models")
    assert shell(engine, image, "ls -A /models", *options) == ""
    shell(engine, image, "mkdir /models/org && touch /models/org/x", *options, "--user", user)
    assert shell(engine, image, "stat -c %g /models/org/x", *options) == "0"


def test_it_serves_as_a_user_that_a_cluster_made_up(start: Start, smol: tuple[str, ...]) -> None:
    assert_it_answers(start(*HARDENED, "--user", "1234567:0", *smol))


def test_at_sigterm_open_requests_are_finished(start: Start, smol: tuple[str, ...]) -> None:
    container = start(*HARDENED, *smol, "--env", "GGUF_DRAIN_GRACE_SECONDS=90")  # a busy machine
    container.wait_until_ready()
    body = {"prompt": "Once", "max_tokens": 60, "stream": True, "ignore_eos": True}
    url = f"{container.url}/v1/completions"
    with httpx.stream("POST", url, json=body, timeout=HANG_SECONDS) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: {")
        container.signal("TERM")
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2], "it was not cut short"
    assert container.wait_until_ended() == 0
    assert "SIGTERM: finishing what is open (1 now)" in container.logs()


def test_at_sigterm_a_fetch_ends(start: Start, model_directory: Path) -> None:
    [model] = model_directory.glob("SmolLM2*.gguf")
    with Hub() as hub:
        hub.repository("org/smol", {"smol-Q4_1.gguf": File(model)})
        hub.bytes_per_second = 1_000_000
        variables = hub.environment(Path("/tmp"))
        options = [f"--env={name}={value}" for name, value in variables.items() if "HF_" in name]
        command = ("gguf-server", "fetch", "org/smol")
        container = start("--network", "host", *options, command=command)
        until(lambda: hub.bytes_sent() > 500_000 or not container.is_running, "some has arrived")
        container.signal("TERM")
        assert container.wait_until_ended() == 143, container.logs()


def test_health_is_readiness(start: Start, smol: tuple[str, ...]) -> None:
    container = start("--health-interval", "1s", *smol)
    until(lambda: container.state["Health"]["Status"] == "healthy", "it is healthy")
    assert container.probe("readyz") == 200
    idle = start(command=("sleep", "infinity"))
    done = idle.execute("healthcheck")
    assert done.returncode == 1
    assert done.stderr.startswith("healthcheck: port 8000: ")


def test_a_server_that_still_loads_is_not_healthy(start: Start) -> None:
    code = (
        "import socket; s = socket.create_server(('', 8000))\n"
        "while True: c, _ = s.accept(); c.recv(99); c.send(b'HTTP/1.0 503 No\\r\\n\\r\\n')"
    )
    container = start(command=("python", "-c", code))
    until(lambda: container.execute("healthcheck").stdout, "it says something")
    done = container.execute("healthcheck")
    assert (done.returncode, done.stdout) == (1, "HTTP/1.0 503 No\n")


def test_health_follows_the_port_and_https(start: Start, smol: tuple[str, ...]) -> None:
    certificates = f"{ROOT}/tests/server/tls:/tls:ro"
    tls = ("--env", "GGUF_TLS_CERT=/tls/cert.pem", "--env", "GGUF_TLS_KEY=/tls/key.pem")
    container = start(*smol, "--volume", certificates, *tls, "--env", "GGUF_PORT=8443")
    until(lambda: container.execute("healthcheck").returncode == 0, "it is healthy")


def test_a_wrong_option_is_one_line_and_status_2(engine: Engine, image: str) -> None:
    done = engine.run(image, "gguf-server", "serve", "--nonsense")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("gguf-server: unrecognized arguments: --nonsense")


def test_without_a_model_it_says_so_in_one_line(engine: Engine, image: str) -> None:
    done = engine.run(image)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "set MODEL_NAME" in line


def test_nothing_is_inside_that_only_a_build_needs(engine: Engine, image: str) -> None:
    commands = "cc gcc c++ g++ ld as strip make cmake ninja git pip pip3 uv curl wget"
    script = f"for each in {commands}; do command -v $each; done; true"
    assert shell(engine, image, script) == ""
    left = "/var/lib/apt/lists /var/cache/apt /var/log /root/.cache /run/secrets /tmp /tools /src"
    assert shell(engine, image, f"find {left} -type f -o -name secrets 2>/dev/null; true") == ""
    found = "import importlib.util as u; print([n for n in {!r} if u.find_spec(n)])"
    packages = ["pip", "setuptools", "hatchling", "pytest", "tests", "modal", "hf_xet", "aiohttp"]
    assert engine.run(image, "python", "-c", found.format(packages)).stdout == "[]\n"


def test_nothing_of_the_machine_that_built_it_is_inside(engine: Engine, image: str) -> None:
    history = engine.output("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert "index-url" not in history
    assert str(ROOT) not in history
    assert f"HOME={Path.home()}" not in history
    names = {each.partition("=")[0] for each in engine.inspect("image", image)["Config"]["Env"]}
    ours = {name for name in names if name.startswith(("GGUF_", "GGML_"))}
    assert ours == {"GGUF_HOST", "GGUF_MODELS_DIR", "GGML_NO_BACKTRACE"}
    assert names - ours == {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    grep = f"grep -rlE '{ROOT}|index-url' {SITE} --include=direct_url.json --include=*.conf; true"
    assert shell(engine, image, grep) == ""


def test_every_library_is_there_once(image: str) -> None:
    assert_every_library_is_there_once(image, "libggml.so", "libggml-base.so", "libggml-cpu.so")


def test_every_extension_module_can_be_loaded(engine: Engine, image: str) -> None:
    """What was left out or stripped was not needed."""
    code = f"""
import importlib, pathlib
site = pathlib.Path({SITE!r})
count = 0
for path in sorted(site.rglob("*.cpython-311-*.so")) + sorted(site.rglob("*.abi3.so")):
    name = ".".join(path.relative_to(site).with_name(path.name.partition(".")[0]).parts)
    importlib.import_module(name)
    count += 1
import kubernetes.client, kubernetes.config, huggingface_hub
print(count)
"""
    done = engine.run(image, "python", "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_llama_cpp_is_compiled_for_any_cpu_from_avx2_on(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    assert_it_is_for_any_cpu_from_avx2_on(engine, image, tmp_path)


def test_it_is_no_larger_than_written_down(engine: Engine, image: str) -> None:
    added = engine.inspect("image", image)["Size"] - engine.inspect("image", BASE)["Size"]
    assert added <= MOST_ADDED_BYTES
    assert abs(added - recorded_sizes()["cpu"]) < added / 10


def test_its_labels_say_what_it_is(engine: Engine, image: str) -> None:
    labels = engine.inspect("image", image)["Config"]["Labels"]
    ours = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
    assert ours["title"] == "gguf-server"
    assert ours["version"] == __version__
    assert ours["licenses"] == "Apache-2.0"
    assert ours["base.name"] == f"docker.io/library/{BASE}"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", ours["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ours["created"])
    licence = shell(engine, image, "cat /usr/share/doc/gguf-server/LICENSE")
    assert licence == (ROOT / "LICENSE").read_text().strip()


def test_the_bill_of_materials_is_what_is_installed(engine: Engine, image: str) -> None:
    assert_the_bill_is_what_is_installed(engine, image, "run")


def test_an_image_that_has_grown_by_more_than_a_tenth_is_refused(
    tmp_path: Path, image: str
) -> None:
    """The script with a docker that reports sizes of its own."""
    recorded = recorded_sizes()["cpu"]
    fake = tmp_path / "docker"

    def build(added: int) -> subprocess.CompletedProcess[str]:
        lines = ["#!/bin/sh", 'case "$*" in']
        lines.append(f"  *.Size*gguf-server*) echo {1000 + added} ;;")
        lines.append("  *.Size*debian*) echo 1000 ;;")
        fake.write_text("\n".join([*lines, "esac", ""]))
        fake.chmod(0o755)
        return build_image(check=False, DOCKER=str(fake))

    assert build(recorded * 11 // 10).returncode == 0
    refused = build(recorded * 11 // 10 + 2)
    assert refused.returncode == 1
    assert "has grown by more than a tenth" in refused.stderr


@pytest.mark.slow
def test_two_builds_give_the_same_files(engine: Engine, image: str) -> None:
    other = f"{engine.name}:again"
    build_image("--no-cache", TAG=other)
    try:
        assert engine.inspect("image", other)["Id"] != engine.inspect("image", image)["Id"]
        assert added_files(other) == added_files(image)
    finally:
        engine.call("image", "rm", "--force", other)
