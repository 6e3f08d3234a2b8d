"""One server for all clients: they are alone with it one after the other, and change nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SAME_TEXT, ServerUnderTest

ROOT = Path(__file__).parents[2]
HANG_SECONDS = 600.0
MODEL = "small"
# What would make a client ask somebody else: prices, tokenizers, data sets, traces.
ALONE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
    "NO_PROXY": "127.0.0.1",
    "PYTHONPATH": "",
}

Seen = Callable[[str], dict[str, Any]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def server() -> Iterator[ServerUnderTest]:
    size = ("--slots", "4", "--context", "2048", "--threads", "1")
    options = ("--embeddings", "on", "--served-model-name", MODEL)
    shared = ServerUnderTest(*size, *options, *SAME_TEXT)
    try:
        shared.wait_until_ready()
        yield shared
    finally:
        shared.stop()


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a module in the environment of a client."""

    def run(client: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        result = subprocess.run(
            [_python(client), "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **ALONE},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def seen(server: ServerUnderTest, run: Run) -> Seen:
    """What a client got; it asks once for all tests."""

    @cache
    def seen(client: str) -> dict[str, Any]:
        result = run(client, f"tests.clients.drive_{client}", server.url, MODEL)
        answers: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return answers

    return seen


@cache
def _python(client: str) -> str:
    if client == "openai":  # one of the locked packages that the tests themselves use
        return sys.executable
    made = subprocess.run(
        [ROOT / "scripts" / "locked-env", client],
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
        timeout=HANG_SECONDS,
        check=True,
    )
    return made.stdout.strip()
