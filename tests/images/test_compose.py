"""deploy/compose with a real Docker Engine, the real image, and a hub of ours."""

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from msgspec.structs import replace

from gguf_deploy.formats.compose import text
from gguf_server.knobs import Knobs
from gguf_server.models.placement import Placement, loads
from gguf_server.settings.environment import cache_dir
from gguf_server.settings.serve import EMBEDDED_MODEL
from tests.deploy import placements
from tests.e2e.conftest import until
from tests.hub.content import File
from tests.hub.server import Hub
from tests.images.compose_project import ROOT, Project

IMAGE = "gguf-server:cpu"
MODEL = "org/smol"
MODEL_PATH = cache_dir() / "models" / EMBEDDED_MODEL
NUM_BYTES = 98_000_000  # and some more
KILL_ENGINE = """
import contextlib, os, pathlib, signal
for each in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if b"\\0gguf_server.engine\\0" in (each / "cmdline").read_bytes():
            os.kill(int(each.name), signal.SIGKILL)
            print(each.name)
"""

# Where vLLM would be: it answers, and says how it was started.
FAKE_VLLM = """#!/usr/bin/env python3
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        named = {name: os.environ.get(name) for name in ("VLLM_API_KEY", "HF_HOME")}
        body = json.dumps({"arguments": sys.argv[1:], **named}).encode()
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""
ASK_SERVER = """
import urllib.request
print(urllib.request.urlopen("http://server:8000/health").read().decode())
"""
VLLM_OVERRIDE = """
services:
  vllm:
    volumes: ["./vllm:/usr/local/bin/vllm:ro"]
    deploy: {resources: {reservations: {devices: !reset []}}}
    healthcheck: {interval: 1s}
"""

pytestmark = [pytest.mark.docker, pytest.mark.slow]
New = Callable[[], Project]


@pytest.fixture(scope="session")
def compose(docker: str) -> str:
    """The program; compiled where the plugin is missing, which takes minutes, once."""
    return _printed(str(ROOT / "scripts" / "compose"))


@pytest.fixture
def new_project(compose: str, docker: str, tmp_path: Path) -> Iterator[New]:
    """Projects with names that nobody else has; all they leave is removed with the test."""
    made: list[Project] = []

    def make() -> Project:
        name = f"gguf-test-{uuid.uuid4().hex[:12]}"
        made.append(Project(compose, docker, name, tmp_path / name))
        return made[-1]

    yield make
    for project in made:
        project.end()


@pytest.fixture
def hub(docker: str) -> Iterator[Hub]:
    """With SmolLM2, for all and for those who may."""
    with _bridge(docker) as address, Hub(addresses=(address, address)) as there:
        files = {"smol-Q8_0.gguf": File(MODEL_PATH)}
        there.repository(MODEL, files)
        there.repository("org/gated", files, is_gated=True, readers=("hf_good",))
        yield there


@contextmanager
def _bridge(docker: str) -> Iterator[str]:
    """An address of this machine that containers of all networks reach."""
    name = f"gguf-test-{uuid.uuid4().hex[:12]}"
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    _printed(docker, "network", "create", name)
    try:
        yield _printed(docker, "network", "inspect", name, "--format", gateway)
    finally:
        _printed(docker, "network", "rm", name)


@pytest.fixture
def project(new_project: New, hub: Hub, image: str) -> Project:
    """For a CPU, with the hub, and nothing started."""
    found = new_project()
    found.docker("tag", image, IMAGE)  # another checkout may have taken the name meanwhile
    found.environment(**_settings(hub))
    return found


# --- the files ------------------------------------------------------------------------------------


def test_with_a_gpu_one_is_reserved_and_without_none(new_project: New) -> None:
    project = new_project()
    project.files("compose.yaml")
    assert _gpu_counts(project) == [1]
    assert project.config()["services"]["server"]["image"] == "gguf-server:cuda"
    project.files("compose.yaml", "compose.cpu.yaml")
    assert _gpu_counts(project) == []
    images = {each["image"] for each in project.config()["services"].values()}
    assert images == {"gguf-server:cpu"}


@pytest.mark.parametrize("make", placements.ALL, ids=lambda make: make.__name__)
def test_a_plan_is_merged_into_the_files(new_project: New, make: Callable[[], Placement]) -> None:
    placement = make()
    project = new_project()
    below = ["compose.yaml"] if placement.gpu else ["compose.yaml", "compose.cpu.yaml"]
    project.files(*below)
    project.override(text(placement, command="gguf-deploy plan x --format compose"))
    services = project.config()["services"]
    assert _gpu_counts(project) == ([placement.gpu.count] if placement.gpu else [])
    server, fetch = services["server"], services["fetch"]
    reference = placement.model.reference.replace("$", "$$")  # `config` prints a file to read again
    assert server["environment"]["MODEL_NAME"] == reference
    assert fetch["environment"]["MODEL_NAME"] == reference
    assert server["environment"]["GGUF_CONTEXT" if placement.gpu else "GGUF_SLOTS"]
    assert fetch["environment"]["HF_TOKEN_PATH"], "what the plan does not say stays"
    assert server["depends_on"]["fetch"]["condition"] == "service_completed_successfully"
    assert set(server["healthcheck"]) == {"interval", "timeout", "retries", "start_period"}
    plan = server["environment"]["GGUF_PLAN"].replace("$$", "$")
    assert loads(plan) == placement


def test_what_is_in_env_reaches_the_server_and_the_token_only_the_fetch(new_project: New) -> None:
    project = new_project()
    project.environment(MODEL_NAME="org/a@b:Q8_0", GGUF_KV_LAYOUT="unified", HF_TOKEN="hf_x")
    project.secret("hf_token", "hf_x")
    services = project.config()["services"]
    for name in ("fetch", "server"):
        assert services[name]["environment"]["MODEL_NAME"] == "org/a@b:Q8_0"
        assert services[name]["environment"]["GGUF_KV_LAYOUT"] == "unified"
    assert services["server"]["environment"]["HF_TOKEN"] == ""
    assert [each["source"] for each in services["fetch"]["secrets"]] == ["hf_token"]
    assert [each["source"] for each in services["server"]["secrets"]] == ["api_key"]


def test_only_this_machine_reaches_the_server_unless_told_otherwise(new_project: New) -> None:
    project = new_project()
    everything = project.config("--profile", "*")["services"]
    published = [port for each in everything.values() for port in each.get("ports", [])]
    assert len(published) == 4
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    project.environment(BIND="0.0.0.0", PORT="8080")
    [port] = project.config()["services"]["server"]["ports"]
    assert (port["host_ip"], port["published"]) == ("0.0.0.0", "8080")


def test_vllm_takes_the_server_s_place(new_project: New) -> None:
    project = new_project()
    project.files("compose.yaml")
    assert "vllm" not in project.config()["services"]
    services = project.config("--profile", "vllm")["services"]
    server, vllm = services["server"], services["vllm"]
    same = ("ports", "deploy", "stop_grace_period", "restart", "cap_drop", "security_opt")
    assert {key: vllm[key] for key in same} == {key: server[key] for key in same}
    assert vllm["networks"]["default"]["aliases"] == ["server"]
    assert vllm["volumes"][0]["source"] == server["volumes"][0]["source"] == "models"
    assert "/health" in vllm["healthcheck"].pop("test")[-1]
    assert vllm["healthcheck"] == server["healthcheck"]


# --- a deployment ---------------------------------------------------------------------------------


def test_the_model_is_fetched_then_served_and_the_second_time_not_fetched(
    project: Project, hub: Hub
) -> None:
    project.up()
    assert _answer(project)["choices"][0]["message"]["content"]
    assert hub.bytes_sent() > NUM_BYTES
    assert project.state("fetch")["ExitCode"] == 0

    project.do("down")
    hub.record.clear()
    project.up()
    assert _answer(project)["choices"]
    assert hub.bytes_sent() == 0
    assert any(each.path.startswith("/api/") for each in hub.record.requests), "fetch has asked"


def test_containers_may_do_little(project: Project) -> None:
    project.up()
    for service in ("fetch", "server"):
        [container] = project.containers(service)
        about = container["HostConfig"]
        assert about["ReadonlyRootfs"]
        assert about["CapDrop"] == ["ALL"]
        assert about["SecurityOpt"] == ["no-new-privileges:true"]
    tried = project.inside(
        "import os\n"
        "for place in ('/models/x', '/x'):\n"
        "    try: open(place, 'a')\n"
        "    except OSError as exc: print(exc.strerror)\n"
        "print(open('/tmp/x', 'w').write('x'), os.path.exists('/run/secrets/hf_token'))\n"
    )
    assert tried.splitlines() == ["Read-only file system"] * 2 + ["1 False"]


def test_a_stop_lets_an_answer_be_finished(project: Project, hub: Hub) -> None:
    patient = {"GGUF_DRAIN_GRACE_SECONDS": "240", "STOP_GRACE_PERIOD": "250s"}  # a busy machine
    project.environment(**_settings(hub), **patient)
    project.up()
    url = project.url()
    asked = _request(max_tokens=150, ignore_eos=True, stream=True)
    with httpx.stream("POST", f"{url}/v1/chat/completions", **asked, timeout=120) as answer:
        lines = answer.iter_lines()
        until(lambda: "content" in next(lines), "the answer has begun")
        with project.start("stop", "server") as stopping:
            until(lambda: _probe(url) != 200, "it is no longer ready")
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert stopping.returncode == 0
    state = project.state("server")
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_a_server_is_as_its_plan_says(project: Project, hub: Hub) -> None:
    project.override(text(_smol(hub), command="gguf-deploy plan org/smol --format compose"))
    project.up()
    assert _answer(project)["choices"]
    assert not any("the plan counted with" in line for line in project.log("server"))


def test_another_s_plan_is_refused(project: Project, hub: Hub) -> None:
    project.override(text(_smol(hub), command="gguf-deploy plan org/smol --format compose"))
    other = {"services": {"server": {"restart": "no", "environment": {"MODEL_NAME": "org/gated"}}}}
    project.override(yaml.safe_dump(other))
    project.do("up", "--detach", "server")
    until(lambda: project.state("server")["Status"] == "exited", "it has ended")
    assert project.state("server")["ExitCode"] == 11
    assert "the plan is for org/smol@" in project.log("server")[-1]


def test_health_is_asked_for_over_https_where_that_is_what_there_is(
    project: Project, hub: Hub
) -> None:
    shutil.copytree(ROOT / "tests" / "server" / "tls", project.place / "tls")
    project.override('services: {server: {volumes: ["./tls:/tls:ro"]}}')
    files = {"GGUF_TLS_CERT": "/tls/cert.pem", "GGUF_TLS_KEY": "/tls/key.pem"}
    project.environment(**_settings(hub), **files)
    project.up()
    https = project.url().replace("http://", "https://")
    assert httpx.get(f"{https}/readyz", verify=False).status_code == 200


def test_an_engine_that_is_killed_comes_back(project: Project) -> None:
    project.up()
    assert _answer(project)["choices"]
    started = project.state("server")["StartedAt"]
    url = project.url()
    assert len(project.inside(KILL_ENGINE).split()) == 1
    lost = re.compile(r"^gguf_server_engine_restarts_total{.*} [1-9]", re.MULTILINE)
    until(lambda: lost.search(httpx.get(f"{url}/metrics").text), "it is counted")
    until(lambda: _probe(url) == 200, "it is ready again")
    assert _answer(project)["choices"]
    assert project.state("server")["StartedAt"] == started, "the container went on"


def test_another_image_and_back_keep_the_model(project: Project, hub: Hub) -> None:
    other = f"{project.name}:next"
    project.up()
    project.docker("tag", IMAGE, other)
    try:
        hub.record.clear()
        for image in (other, IMAGE):
            project.environment(**_settings(hub), GGUF_IMAGE=image)
            project.up()
            [container] = project.containers("server")
            assert container["Config"]["Image"] == image
            assert not any("GGUF_IMAGE" in line for line in project.log("server")), "no option"
            assert _answer(project)["choices"]
        assert hub.bytes_sent() == 0
    finally:
        project.do("down")
        project.docker("rmi", other)


def test_with_a_key_only_who_has_it_is_served(project: Project, hub: Hub) -> None:
    project.secret("api_key", "# for the app\nsesame\n")
    project.environment(**_settings(hub), API_KEY_FILE="secrets/api_key")
    project.up()
    with project.client() as http:
        assert http.post("/v1/chat/completions", **_request()).status_code == 401
    with project.client("sesame") as http:
        assert http.post("/v1/chat/completions", **_request()).status_code == 200


def test_from_the_server_to_vllm_and_back(project: Project, hub: Hub) -> None:
    (project.place / "vllm").write_text(FAKE_VLLM)
    (project.place / "vllm").chmod(0o755)
    project.override(VLLM_OVERRIDE)
    project.secret("api_key", "# for the app\nsesame\nanother\n")
    project.environment(
        **_settings(hub),
        API_KEY_FILE="secrets/api_key",
        GGUF_SERVED_MODEL_NAME="chat",
        VLLM_IMAGE=IMAGE,
        VLLM_MODEL="org/whole",
        VLLM_ARGS="--max-model-len 4096",
    )
    project.up()
    project.do("stop", "server")
    project.up("vllm")
    seen = json.loads(project.inside(ASK_SERVER, service="vllm"))
    model = ["serve", "org/whole", "--served-model-name", "chat"]
    assert seen["arguments"] == [*model, "--port", "8000", "--max-model-len", "4096"]
    assert seen["VLLM_API_KEY"] == "sesame"
    assert seen["HF_HOME"].startswith("/models/")
    assert project.state("server")["Status"] == "exited"
    project.do("stop", "vllm")
    project.up()
    with project.client("sesame") as http:
        assert http.get("/v1/models").json()["data"][0]["id"] == "chat"


@pytest.mark.parametrize("meant", [{"API_KEY_FILE": "secrets/api_key"}, {"GGUF_API_KEYS": "a"}])
def test_vllm_does_not_start_open_where_a_key_is_meant(
    project: Project, hub: Hub, meant: dict[str, str]
) -> None:
    (project.place / "vllm").write_text(FAKE_VLLM)
    (project.place / "vllm").chmod(0o755)
    project.override(VLLM_OVERRIDE)
    project.secret("api_key", "# nobody yet\n")
    project.environment(**_settings(hub), VLLM_IMAGE=IMAGE, VLLM_MODEL="org/whole", **meant)
    done = project.run("run", "--rm", "vllm")
    assert done.returncode == 2
    assert "vllm: there is no key in API_KEY_FILE; the API would be open" in done.stderr


def test_a_gated_model_is_fetched_with_the_token(project: Project, hub: Hub) -> None:
    project.secret("hf_token", "hf_good\n")
    project.environment(
        **_settings(hub) | {"MODEL_NAME": "org/gated"}, HF_TOKEN_FILE="secrets/hf_token"
    )
    project.do("run", "--rm", "fetch")
    assert hub.bytes_sent() > NUM_BYTES
    assert {each.authorization for each in hub.record.requests if each.origin == "cdn"} == {""}


# --- what goes wrong ------------------------------------------------------------------------------


def test_without_a_token_a_gated_model_is_not_served(project: Project, hub: Hub) -> None:
    project.environment(**_settings(hub) | {"MODEL_NAME": "org/gated"})
    line = _refusal(project, exit_code=8)
    assert "org/gated is gated; accept the licence" in line
    assert "set HF_TOKEN" in line


def test_a_wrong_token_is_named(project: Project, hub: Hub) -> None:
    project.secret("hf_token", "hf_wrong")
    project.environment(**_settings(hub), HF_TOKEN_FILE="secrets/hf_token")
    assert "does not accept this token; renew HF_TOKEN" in _refusal(project, exit_code=2)


def test_a_token_that_the_container_may_not_read_is_named(project: Project, hub: Hub) -> None:
    project.secret("hf_token", "hf_good")
    (project.place / "secrets" / "hf_token").chmod(0o600)
    project.environment(**_settings(hub), HF_TOKEN_FILE="secrets/hf_token")
    assert "/run/secrets/hf_token" in _refusal(project, exit_code=2)


def test_without_a_model_s_name_nothing_is_served(project: Project, hub: Hub) -> None:
    project.environment(**_settings(hub) | {"MODEL_NAME": ""})
    assert "there is no model to fetch" in _refusal(project, exit_code=2)


def test_a_volume_that_is_too_small_is_said(project: Project) -> None:
    small = {"type": "tmpfs", "device": "tmpfs", "o": "size=20m,mode=0775"}
    project.override(yaml.safe_dump({"volumes": {"models": {"driver_opts": small}}}))
    line = _refusal(project, exit_code=10)
    assert "98.4 MB" in line


def _refusal(project: Project, *, exit_code: int) -> str:
    """The last line of a fetch that failed and kept the server from starting."""
    result = project.run("up", "--detach")
    assert result.returncode != 0
    assert 'service "fetch" didn\'t complete successfully' in result.stderr
    assert project.state("fetch")["ExitCode"] == exit_code
    assert project.state("server")["Status"] == "created"
    log = project.log("fetch")
    assert not any("Traceback" in line for line in log)
    assert log[-1].startswith("gguf-server: ")
    return log[-1]


def _settings(hub: Hub) -> dict[str, str]:
    return {"MODEL_NAME": MODEL, "HF_ENDPOINT": hub.endpoint}


def _smol(hub: Hub) -> Placement:
    """A plan for what the hub has: on a CPU, as these projects run it."""
    placement = placements.dense_on_cpu()
    commit = hub.repositories[MODEL].refs["main"]
    reference = f"{MODEL}@{commit}:Q8_0"
    model = replace(placement.model, reference=reference, name=MODEL, commit=commit)
    knobs = Knobs(context_tokens=1024, slots=1)
    return replace(placement, model=model, knobs=knobs)


def _request(**more: object) -> dict[str, Any]:
    message = {"role": "user", "content": "Say hello."}
    return {"json": {"model": MODEL, "messages": [message], "max_tokens": 8, **more}}


def _answer(project: Project) -> dict[str, Any]:
    with project.client() as http:
        answer = http.post("/v1/chat/completions", **_request())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _probe(url: str) -> int:
    try:
        return httpx.get(f"{url}/readyz").status_code
    except httpx.TransportError:  # the container is gone already
        return 0


def _gpu_counts(project: Project) -> list[int]:
    """Of each reservation that the server has."""
    reserved = project.config()["services"]["server"]["deploy"]["resources"]["reservations"]
    return [each["count"] for each in reserved.get("devices", [])]


def _printed(*command: str) -> str:
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()
