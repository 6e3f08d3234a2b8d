"""Modal's real client, as somebody types it; it speaks to our control plane and to nobody else."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANG_SECONDS = 300.0  # only ends a hang
# A path of the checkout, as in the README.
APP = "deploy/modal_app.py"

Completed = subprocess.CompletedProcess[str]


class Client:
    """``home`` is its own: no profile, no token of whoever runs the tests."""

    def __init__(self, url: str, home: Path, variables: Mapping[str, str]) -> None:
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "COLUMNS": "500",  # no line of an error is broken
            "MODAL_SERVER_URL": url,
            "MODAL_TOKEN_ID": "ak-test",
            "MODAL_TOKEN_SECRET": "as-test",
            "MODAL_CONFIG_PATH": str(home / "none.toml"),
            "MODAL_DISABLE_API_PROXY": "1",
            **variables,
        }

    def modal(self, *arguments: str, text: str = "", **variables: str) -> Completed:
        """``deploy``, ``run``... whatever it ends with."""
        return subprocess.run(
            [sys.executable, "-m", "modal", *arguments],
            cwd=ROOT,
            env=self._environ | variables,
            input=text,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    def deploy(self, **variables: str) -> None:
        """What must succeed."""
        done = self.modal("deploy", APP, **variables)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, name: str, *arguments: str, **variables: str) -> Completed:
        return self.modal("run", f"{APP}::{name}", *arguments, **variables)
