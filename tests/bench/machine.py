"""What a number is worth nothing without: the machine, the versions, the command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.servers import Server


@dataclass(frozen=True, slots=True)
class Machine:
    date: str
    cpu: str
    num_cores: int
    kernel: str
    python: str
    command: str
    versions: dict[str, str]


def describe(arguments: list[str], servers: list[Server]) -> Machine:
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu_model(),
        num_cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        command=" ".join(["python -m tests.bench", *map(_without_folder, arguments)]),
        versions=_versions(servers),
    )


def _versions(servers: list[Server]) -> dict[str, str]:
    packages = {name: _package_version(name) for name in ("gguf-server", "llama-cpp-python")}
    programs = sorted({each.program for each in servers if each.kind == "llama-server"})
    if programs:
        packages["llama-server"] = _llama_server_version(programs[0])
    return packages


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or sys.platform
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _llama_server_version(program: str) -> str:
    command = [program, "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (answer.stderr + answer.stdout).splitlines()
    return next((line for line in lines if line.startswith("version")), "unknown")


def _without_folder(argument: str) -> str:
    return Path(argument).name if "/" in argument else argument
