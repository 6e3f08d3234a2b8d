"""gguf-server on Modal: the entry points that people know, on the kit's image. See docs/modal.md.

Bodies run commands of the image. What there is to decide is in the plan: it is read where ``modal``
is typed, and goes with the settings into the environment of each container.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modal

MINUTE, HOUR, DAY = 60, 3600, 86400
PORT = 8000
SMALL = "bartowski/SmolLM2-135M-Instruct-GGUF:Q8_0"
GPU = re.compile(r"(T4|L4|A10|L40S|A100(-[48]0GB)?|RTX-PRO-6000|H100!?|H200|B200\+?)(:[1-8])?")
WHY = Path("/tmp/why")  # where the server writes what ended it
SETTINGS = {"GGUF_IMAGE": "", "REGISTRY_SECRET": "", "HF_TOKEN_SECRET": "", "PROXY_AUTH": "on"}
SETTINGS |= {"API_KEY_SECRET": "gguf-server", "MODELS_VOLUME": "", "MAX_CONTAINERS": "1"}
SETTINGS = {name: os.environ.get(name, default) for name, default in SETTINGS.items()}


def read_plan(path: Path, model: str) -> Any:
    make = f"make one: gguf-deploy plan {model or 'org/repo'} --format modal > {path}"
    try:
        plan = json.loads(path.read_text("utf-8"))
        names, gpus = plan["model_names"], plan["gpu"] or ()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise SystemExit(f"modal_app: {path} is no plan ({exc!r}); {make}") from None
    if model not in ("", *names):
        raise SystemExit(f"modal_app: {path} is for {names[0]}, not MODEL_NAME={model}; {make}")
    for gpu in gpus:
        if not GPU.fullmatch(gpu):
            raise SystemExit(f"modal_app: {path}: Modal has no GPU {gpu!r}; {make}")
    if not SETTINGS["GGUF_IMAGE"]:
        raise SystemExit("modal_app: name the image: GGUF_IMAGE=registry.example.com/gguf-server:TAG")
    return plan


if modal.is_local():
    beside = Path(__file__).with_name("modal_plan.json")
    PLAN = read_plan(Path(os.environ.get("MODAL_PLAN", beside)), os.environ.get("MODEL_NAME", ""))
else:
    PLAN = json.loads(os.environ["MODAL_APP_PLAN"])


def secrets(setting: str, *keys: str) -> list[modal.Secret]:
    name = SETTINGS[setting]
    return [modal.Secret.from_name(name, required_keys=[*keys])] if name else []


app = modal.App("gguf-server")
if SETTINGS["MODELS_VOLUME"]:  # a misspelled name must not become an empty volume
    models = modal.Volume.from_name(SETTINGS["MODELS_VOLUME"])
else:
    models = modal.Volume.from_name("gguf-models", create_if_missing=True, version=2)
writing: dict[str, Any] = {
    "image": modal.Image.from_registry(
        SETTINGS["GGUF_IMAGE"], secret=next(iter(secrets("REGISTRY_SECRET")), None)
    ),
    "env": SETTINGS | {"MODAL_APP_PLAN": json.dumps(PLAN)},
    "volumes": {"/models": models},
    "max_containers": 1,
    "timeout": 4 * HOUR,
}
reading = writing | {"volumes": {"/models": models.with_mount_options(read_only=True)}}
planned = reading | {name: PLAN[name] for name in ("gpu", "cpu", "memory")}
hub = secrets("HF_TOKEN_SECRET", "HF_TOKEN")
keys = secrets("API_KEY_SECRET", "GGUF_API_KEYS")


def environment(**more: str) -> dict[str, str]:
    """Without Modal's packages, which are others than the image's."""
    return {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"} | more


def run(*command: str, text: str | None = None) -> None:
    variables = environment(**PLAN["environment"])
    done = subprocess.run(command, env=variables, input=text, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")


def start(*options: str, **variables: str) -> "subprocess.Popen[bytes]":
    """The server, ready."""
    WHY.write_text("")
    command = ["gguf-server", "serve", "--termination-log", str(WHY), *options]
    process = subprocess.Popen(command, env=environment(**variables))
    give_up = time.monotonic() + PLAN["startup_timeout"]
    while subprocess.run(["healthcheck"], capture_output=True, check=False).returncode:
        if process.poll() is not None:
            raise RuntimeError(f"gguf-server ended with code {process.returncode}: {WHY.read_text()}")
        if time.monotonic() > give_up:
            process.kill()
            raise TimeoutError(f"gguf-server was not ready after {PLAN['startup_timeout']} s")
        time.sleep(0.2)
    return process


def end_with(process: "subprocess.Popen[bytes]") -> None:
    """A container without its server would refuse requests for ever; Modal starts another."""
    print(f"gguf-server ended with code {process.wait()}: {WHY.read_text()}", flush=True)
    os._exit(1)


@contextlib.contextmanager
def serving(*options: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = start(*options, **variables)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@app.function(**writing, secrets=hub)
def download() -> None:
    try:
        run("gguf-server", "fetch")
    finally:  # what has arrived need not come again
        models.commit()


@app.function(**writing)
def cleanup_gguf(keep_quant: str = PLAN["placement"]["model"]["label"], yes: bool = False) -> None:
    run("gguf-server", "clean", "--keep-quant", keep_quant, *(["--yes"] if yes else []))
    models.commit()


@app.function(**reading)
def list_files() -> None:
    run("gguf-server", "ls")


@app.function(**reading, secrets=hub)
def info() -> None:
    run("gguf-server", "info")


@app.function(**reading, secrets=hub)
def gpu_specs() -> None:
    run("gguf-deploy", "gpus")
    run("gguf-deploy", "plan")
