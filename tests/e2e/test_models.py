"""Models from a hub of ours: the commands as users type them, and the server that fetches first."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import HANG_SECONDS, ServerUnderTest, until
from tests.gguf_files import split, without_template
from tests.hub.content import File
from tests.hub.server import Hub
from tests.mounts import read_only

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)


class Desk:
    """Somebody who types commands, with a hub and a model directory of their own."""

    def __init__(self, hub: Hub, directory: Path) -> None:
        self.hub = hub
        self.root = directory / "models"
        self.environment = hub.environment(directory / "home", GGUF_MODELS_DIR=str(self.root))

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "gguf_server", *arguments],
            env=self.environment | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    def answer(self, *arguments: str) -> dict[str, Any]:
        """What a command says with --json."""
        result = self.run(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "gguf_server", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def serve(self, *arguments: str) -> ServerUnderTest:
        return ServerUnderTest(
            "--context", "256", "--slots", "1", *arguments, environment=self.environment
        )


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> dict[str, dict[str, File]]:
    """SmolLM2 whole, as a split, and without its chat template."""
    root = tmp_path_factory.mktemp("goods")
    (root / "LICENSE").write_text("Apache 2.0")
    (root / "README.md").write_text("# SmolLM2")
    (root / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    parts = split(model_path, root / "parts", 3, "smol-Q4_0")
    bare = File(without_template(model_path, root / "bare.gguf"))
    smol = {
        "smol-Q8_0.gguf": File(model_path),
        "mmproj-Q8_0.gguf": bare,
        "LICENSE": File(root / "LICENSE"),
        "README.md": File(root / "README.md"),
        **{f"Q4_0/{part.name}": File(part) for part in parts},
    }
    base = {"tokenizer_config.json": File(root / "tokenizer_config.json")}
    return {"org/smol": smol, "org/bare": {"bare-Q8_0.gguf": bare}, "org/base": base}


@pytest.fixture
def desk(tmp_path: Path, goods: dict[str, dict[str, File]]) -> Iterator[Desk]:
    with Hub() as hub:
        for name, files in goods.items():
            hub.repository(name, files)
        hub.repositories["org/bare"].card = {"base_model": "org/base"}
        yield Desk(hub, tmp_path)


def test_a_model_is_fetched_once_listed_described_and_cleaned_away(desk: Desk) -> None:
    preview = desk.run("fetch", "org/smol", "--dry-run")
    assert "98.4 MB would be downloaded" in preview.stdout
    assert not desk.root.exists()

    desk.hub.record.clear()
    fetched = desk.answer("fetch", "org/smol")
    assert fetched["downloaded_bytes"] == desk.hub.bytes_sent() > 98_000_000
    assert Path(str(fetched["path"])).name == "smol-Q8_0.gguf"
    asked = {each.path.rpartition("/")[2] for each in desk.hub.record.requests}
    assert not asked & {"README.md", "mmproj-Q8_0.gguf"}, "only what is needed"

    desk.hub.record.clear()
    again = desk.run("fetch", "org/smol")
    assert "was here, verified" in again.stdout
    assert desk.hub.bytes_sent() == 0

    [model] = desk.answer("ls")["models"]
    assert (model["name"], model["verified"]) == ("org/smol:Q8_0", True)
    assert "134.5 M" in desk.run("info", "org/smol").stdout

    for path in desk.root.rglob("*"):
        os.utime(path, (1, 1))  # long ago
    assert "Do it with --yes" in desk.run("clean", "--older-than", "30d").stdout
    assert Path(str(fetched["path"])).exists()
    assert "98.4 MB were freed" in desk.run("clean", "--older-than", "30d", "--yes").stdout
    assert list(desk.root.iterdir()) == []


def test_a_model_on_the_hub_is_described_from_its_header_alone(desk: Desk) -> None:
    assert desk.answer("info", "org/smol:Q4_0")["num_params"] == 134_515_008
    assert desk.hub.bytes_sent() < 8_000_000
    assert not desk.root.exists()


def test_an_error_is_one_line_and_with_json_an_object(desk: Desk) -> None:
    result = desk.run("fetch", "org/nothing", "--json")
    assert result.returncode == 8
    assert json.loads(result.stdout)["error"]["code"] == "repository_not_found"
    last = result.stderr.splitlines()[-1]
    assert last.startswith("gguf-server: ")
    assert "set HF_TOKEN if it is private" in last
    assert "Traceback" not in result.stderr


def test_an_outage_of_the_hub_stops_nobody_who_has_the_model(desk: Desk) -> None:
    desk.answer("fetch", "org/smol")
    desk.hub.vanish()
    result = desk.run("fetch", "org/smol")
    assert result.returncode == 0
    assert "cannot be reached" in result.stderr
    missing = desk.run("fetch", "org/bare")
    assert missing.returncode == 9
    assert "org/bare was never fetched" in missing.stderr.splitlines()[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_fetch_without_success_and_the_next_one_goes_on(
    desk: Desk, number: signal.Signals, code: int
) -> None:
    desk.hub.bytes_per_second = 10_000_000
    process = desk.start("fetch", "org/smol")
    until(lambda: desk.hub.bytes_sent() > 10_000_000, "some of it has arrived")
    process.send_signal(number)
    output, errors = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, output) == (code, "")
    assert "Traceback" not in errors
    desk.hub.bytes_per_second = 0
    desk.answer("fetch", "org/smol")
    assert desk.hub.bytes_sent() < 110_000_000


def test_two_fetches_at_once_move_the_bytes_once(desk: Desk) -> None:
    desk.hub.bytes_per_second = 40_000_000
    both = [desk.start("fetch", "org/smol") for _ in range(2)]
    for process in both:
        process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 0
    assert desk.hub.bytes_sent("smol-Q8_0.gguf") < 99_000_000


def test_a_server_fetches_first_and_shows_how_far_it_is(desk: Desk) -> None:
    desk.hub.bytes_per_second = 10_000_000
    server = desk.serve("org/smol")
    try:
        server.wait_until_listening()
        until(lambda: server.get("startupz").json().get("percent", 0) > 5, "some has arrived")
        body = server.get("startupz").json()
        assert (body["status"], body["stage"]) == ("loading", "fetch")
        assert "of 98.4 MB" in body["message"]
        assert server.probe("livez") == 200
        assert server.probe("readyz") == 503
        desk.hub.bytes_per_second = 0
        until(lambda: server.probe("readyz") == 200, "the server is ready")
        assert server.get("v1/models").json()["data"][0]["id"] == "org/smol"
        answer = server.post("v1/completions", prompt="The sky is", max_tokens=4)
        assert answer.status_code == 200
    finally:
        server.stop()


def test_a_server_that_has_the_model_asks_no_hub(desk: Desk) -> None:
    desk.answer("fetch", "org/smol")
    desk.hub.vanish()
    desk.hub.record.clear()
    server = desk.serve("org/smol")
    try:
        server.wait_until_ready()
    finally:
        server.stop()
    assert desk.hub.record.requests == []


def test_a_server_on_a_read_only_volume_serves_what_an_init_container_fetched(
    desk: Desk,
) -> None:
    desk.answer("fetch", "org/bare")
    with read_only(desk.root):
        server = desk.serve("org/bare")
        try:
            server.wait_until_ready()
        finally:
            server.stop()
        refused = desk.run("fetch", "org/smol")
        assert refused.returncode == 10
        assert "Read-only file system" in refused.stderr.splitlines()[-1]


def test_a_model_without_a_template_chats_with_that_of_its_base(desk: Desk) -> None:
    server = desk.serve("org/bare")
    try:
        server.wait_until_ready()
        answer = server.post(
            "v1/chat/completions", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
        )
        assert answer.status_code == 200, answer.text
    finally:
        server.stop()


def test_a_split_model_is_served(desk: Desk) -> None:
    server = desk.serve("org/smol:Q4_0")
    try:
        server.wait_until_ready()
        assert server.get("v1/models").json()["data"][0]["id"] == "org/smol:Q4_0"
    finally:
        server.stop()


def test_a_signal_ends_a_server_that_still_fetches_and_its_fetch(desk: Desk) -> None:
    desk.hub.bytes_per_second = 1_000_000
    server = desk.serve("org/smol")
    try:
        server.wait_until_listening()
        until(lambda: desk.hub.bytes_sent() > 1_000_000, "some of it has arrived")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_until_ended() == 0
        sent = desk.hub.bytes_sent()
        until(lambda: desk.hub.bytes_sent() - sent < 2_000_000, "nobody fetches any more")
        assert not (desk.root / "org" / "smol" / ".lease").exists()
    finally:
        server.stop()


def test_a_killed_server_takes_its_fetch_with_it(desk: Desk) -> None:
    desk.hub.bytes_per_second = 1_000_000
    server = desk.serve("org/smol")
    try:
        server.wait_until_listening()
        until(lambda: desk.hub.bytes_sent() > 1_000_000, "some of it has arrived")
        server.process.kill()
        server.wait_until_ended()
        desk.hub.bytes_per_second = 0
        assert desk.run("fetch", "org/smol").returncode == 0
    finally:
        server.stop()


def test_a_model_that_cannot_be_had_ends_the_server_with_the_reason(
    desk: Desk, tmp_path: Path
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    server = desk.serve("org/smol:Q2_K", "--termination-log", str(log))
    try:
        assert server.wait_until_ended() == 8
        assert "org/smol has no Q2_K; it has " in server.errors[-1]
        assert "org/smol has no Q2_K" in log.read_text()
    finally:
        server.stop()


def test_a_broken_file_is_fetched_anew_and_never_served(desk: Desk) -> None:
    path = Path(str(desk.answer("fetch", "org/smol")["path"]))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "is broken" in desk.run("ls").stdout
    server = desk.serve("org/smol")
    try:
        server.wait_until_ready()
        assert any("is broken; fetching" in line for line in server.errors)
    finally:
        server.stop()
    assert path.read_bytes() == content


def test_files_can_be_read_by_a_server_of_the_same_group(desk: Desk) -> None:
    path = Path(str(desk.answer("fetch", "org/smol")["path"]))
    assert path.stat().st_mode & stat.S_IRGRP
    assert time.time() - path.stat().st_mtime < HANG_SECONDS
