"""kubectl, helm and gguf-deploy, as people call them, in one namespace."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.charts.tools import helm
from tests.cluster.cluster import ROOT

CHART = ROOT / "charts" / "gguf-server"
HANG_SECONDS = 240.0

Completed = subprocess.CompletedProcess[str]
Json = dict[str, Any]


@dataclass(frozen=True)
class Kube:
    tools: Path
    kubeconfig: Path
    namespace: str = "default"

    def call(self, *command: str | Path, given: str = "", check: bool = True) -> Completed:
        """Any program; with ``check`` it has to succeed."""
        done = subprocess.run(
            command,
            input=given,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS + 60,
            check=False,
        )
        words = " ".join(map(str, command))
        assert not check or done.returncode == 0, f"{words}: {done.stderr}{done.stdout}\n{self}"
        return done

    def kubectl(self, *arguments: str, given: str = "", check: bool = True) -> Completed:
        kubectl = (self.tools / "kubectl", "--namespace", self.namespace)
        return self.call(*kubectl, *arguments, given=given, check=check)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None, major: int = 4) -> str:
        given = () if values is None else ("--values", "-")
        command = (helm(str(major)), "--namespace", self.namespace, *arguments, *given)
        return self.call(*command, given=json.dumps(values or {})).stdout

    def deploy(self, *arguments: str) -> Completed:
        """gguf-deploy, whatever it ends with."""
        command = (sys.executable, "-m", "gguf_deploy", *arguments, "--namespace", self.namespace)
        return self.call(*command, check=False)

    def get(self, kind: str, name: str) -> Json:
        found: Json = json.loads(self.kubectl("get", kind, name, "--output", "json").stdout)
        return found

    def list(self, kind: str, selector: str = "") -> list[Json]:
        options = ("--selector", selector, "--output", "json")
        found: list[Json] = json.loads(self.kubectl("get", kind, *options).stdout)["items"]
        return found

    def apply(self, *objects: Json) -> None:
        whole = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--filename", "-", given=json.dumps(whole))

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Poll; the limit only ends a hang, and then says how things are."""
        deadline = time.monotonic() + HANG_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"never happened: {what}\n{self}"
            time.sleep(0.2)

    def __str__(self) -> str:
        """For whoever reads of a failure."""
        parts = [
            self.kubectl("get", "pods,pvc,events", check=False).stdout,
            *(self.logs(each["metadata"]["name"]) for each in self.list("pods")),
        ]
        return "\n".join(parts)

    def logs(self, pod: str, *options: str) -> str:
        every = ("logs", pod, "--all-containers", "--ignore-errors", *options)
        return self.kubectl(*every, check=False).stdout


@dataclass(frozen=True)
class Release:
    """What helm installed, by its name there."""

    kube: Kube
    instance: str

    @property
    def name(self) -> str:
        """Of its objects."""
        return f"{self.instance}-gguf-server"

    @property
    def url(self) -> str:
        spec = self.kube.get("service", self.name)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def chat(self, **options: Any) -> str:
        body = {
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
            **options,
        }
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=HANG_SECONDS)
        assert answer.status_code == 200, answer.text
        said = answer.json()["choices"][0]["message"]["content"]
        assert isinstance(said, str)
        return said

    def pods(self) -> list[Json]:
        """The server's, without those that are told to go."""
        found = self.kube.list("pods", f"app.kubernetes.io/instance={self.instance}")
        return [
            each
            for each in found
            if "deletionTimestamp" not in each["metadata"]
            and any(item["name"] == "server" for item in each["spec"]["containers"])
        ]

    def server(self) -> Json:
        """The container's status, of the one pod; empty as long as there is none."""
        for pod in self.pods():
            for status in pod["status"].get("containerStatuses", []):
                found: Json = status
                return found
        return {}

    def ask(self, path: str) -> httpx.Response | None:
        """The one pod: no Service sends anything to one that is not ready."""
        for pod in self.pods():
            if address := pod["status"].get("podIP"):
                with contextlib.suppress(httpx.TransportError):
                    return httpx.get(f"http://{address}:8000/{path}", timeout=30)
        return None

    def metric(self, name: str) -> float:
        answer = self.ask("metrics")
        for line in answer.text.splitlines() if answer else ():
            if line.startswith(f"gguf_server_{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    @property
    def deployment(self) -> Json:
        return self.kube.get("deployment", self.name)

    def is_ready(self) -> bool:
        """All of the current revision answer, and no other is left."""
        deployment = self.deployment
        status, wanted = deployment["status"], deployment["spec"]["replicas"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        return bool(seen and all(status.get(count) == wanted for count in counts))

    def is_reached(self) -> bool:
        """Through the Service: kube-proxy learns of a ready pod a moment later than we do."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        self.kube.until(self.is_ready, f"{self.name} is ready")
        self.kube.until(self.is_reached, f"{self.name} is reached")
