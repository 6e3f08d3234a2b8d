"""deploy/compose as a user has it: a copy of the files, an ``.env``, a project of its own."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import HANG_SECONDS, until

ROOT = Path(__file__).parents[2]
FILES = ("compose.yaml", "compose.cpu.yaml")
_OF_OURS = ("GGUF_", "COMPOSE_", "HF_", "VLLM_", "MODEL_NAME", "PORT", "BIND", "API_KEY", "STOP_")
# A chat of one slot; a probe every second: a test waits for what it sees.
_ENV = {"PORT": "0", "GGUF_SLOTS": "1", "GGUF_CONTEXT": "1024", "GGUF_THREADS": "2"}
_PROBE_OFTEN = "services: {server: {healthcheck: {interval: 1s, retries: 2}}}\n"


class Project:
    """Compose with files of ``directory``; ``environment`` becomes its ``.env``."""

    def __init__(self, compose: str, docker: str, name: str, directory: Path) -> None:
        self.name = name
        self.place = directory / "deploy" / "compose"
        self._compose, self._docker = compose, docker
        self._files: list[str] = [*FILES, "often.yaml"]
        for part in ("deploy/compose", "charts/gguf-server/dashboards"):
            ignore = shutil.ignore_patterns(".env", "hf_token", "api_key")
            shutil.copytree(ROOT / part, directory / part, ignore=ignore)
        (self.place / "often.yaml").write_text(_PROBE_OFTEN)

    def environment(self, **values: str) -> None:
        lines = [f"{name}={value}\n" for name, value in (_ENV | values).items()]
        (self.place / ".env").write_text("".join(lines))

    def override(self, text: str) -> None:
        """One more file, after the others."""
        name = f"override-{len(self._files)}.yaml"
        (self.place / name).write_text(text)
        self._files.append(name)

    def files(self, *names: str) -> None:
        """These, not the ones for a CPU."""
        self._files = [*names]

    def secret(self, name: str, text: str) -> None:
        path = self.place / "secrets" / name
        path.write_text(text)
        path.chmod(0o644)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(arguments),
            cwd=self.place,
            env=_clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    def do(self, *arguments: str) -> str:
        """What must succeed; its output."""
        result = self.run(*arguments)
        assert result.returncode == 0, f"{result.stderr}{self.run('logs', '--no-color').stdout}"
        return result.stdout

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._command(arguments), cwd=self.place, env=_clean_environment(), text=True
        )

    def config(self, *arguments: str) -> dict[str, Any]:
        """All files as one."""
        found: dict[str, Any] = json.loads(self.do(*arguments, "config", "--format", "json"))
        return found

    def up(self, service: str = "server") -> None:
        """Until it is healthy, as Docker sees it."""
        self.do("up", "--detach", service)
        until(lambda: self.state(service)["Health"]["Status"] == "healthy", "it is healthy")

    def end(self) -> None:
        self.do("--profile", "*", "down", "--volumes", "--timeout", "0", "--remove-orphans")

    def containers(self, service: str) -> list[dict[str, Any]]:
        """As Docker tells of them; none before the first ``up``."""
        ids = self.do("ps", "--all", "--quiet", service).split()
        if not ids:
            return []
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", *ids))
        return found

    def state(self, service: str) -> dict[str, Any]:
        [container] = self.containers(service)
        found: dict[str, Any] = container["State"]
        return found

    def log(self, service: str) -> list[str]:
        return self.do("logs", "--no-color", "--no-log-prefix", service).splitlines()

    def inside(self, code: str, service: str = "server") -> str:
        """Python in a container."""
        return self.do("exec", "--no-TTY", service, "python3", "-c", code)

    def url(self) -> str:
        return "http://" + self.do("port", "server", "8000").strip()

    def client(self, key: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url(), headers=headers, timeout=HANG_SECONDS)

    def docker(self, *arguments: str) -> str:
        return subprocess.run(
            [self._docker, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def _command(self, arguments: Sequence[str]) -> list[str]:
        files = [word for name in self._files for word in ("--file", name)]
        return [self._compose, "--project-name", self.name, *files, *arguments]


def _clean_environment() -> dict[str, str]:
    """What somebody set for their own deployment is not for this one."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_OURS)}
