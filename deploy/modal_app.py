"""gguf-server on Modal: the entry points that people know, on the kit's image. See docs/modal.md.

Bodies run commands of the image. The plan decides; it is read where ``modal`` is typed.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import modal

PORT, MINUTE, HOUR, DAY = 8000, 60, 3600, 86400  # Modal lets nothing take longer than a day
GPU = re.compile(r"(T4|L4|A10|L40S|A100(-[48]0GB)?|RTX-PRO-6000|H100!?|H200|B200\+?)(:[1-8])?")
REASON = Path("/tmp/reason")  # why the server ended
SETTINGS = {"GGUF_IMAGE": "", "REGISTRY_SECRET": "", "HF_TOKEN_SECRET": "", "PROXY_AUTH": "on"}
SETTINGS |= {"API_KEY_SECRET": "gguf-server", "MODELS_VOLUME": "gguf-models", "MAX_CONTAINERS": "1"}
SETTINGS = {name: os.environ.get(name, default) for name, default in SETTINGS.items()}
FORMS = {"GGUF_IMAGE": r"\S+", "REGISTRY_SECRET": r"\S*", "MAX_CONTAINERS": r"[1-9]\d*"}

if modal.is_local():
    model = os.environ.get("MODEL_NAME", "")
    path = Path(os.environ.get("MODAL_PLAN") or Path(__file__).with_name("modal_plan.json"))
    try:
        PLAN = json.loads(path.read_text("utf-8"))
        _ = [PLAN[key] for key in ("startup_timeout", "max_inputs", "environment", "placement")]
        if model not in ("", *PLAN["model_names"]):
            raise ValueError(f"it is for {PLAN['model_names'][0]}, not for MODEL_NAME={model}")
        if unknown := [gpu for gpu in PLAN["resources"]["gpu"] or () if not GPU.fullmatch(gpu)]:
            raise ValueError(f"Modal has no GPU {', '.join(unknown)}")
    except (OSError, ValueError, KeyError, TypeError) as exc:
        make = f"gguf-deploy plan {model or 'ORG/REPO'} --format modal > {path}"
        raise SystemExit(f"modal_app: {path} will not do: {exc}; make one: {make}") from None
    if bad := [name for name, form in FORMS.items() if not re.fullmatch(form, SETTINGS[name])]:
        raise SystemExit(f"modal_app: {bad[0]}={SETTINGS[bad[0]]} will not do; see docs/modal.md")
else:
    PLAN = json.loads(os.environ["MODAL_APP_PLAN"])
    os.environ.pop("PYTHONPATH", None)  # Modal's packages are others than the image's

STARTUP = PLAN["startup_timeout"]
app = modal.App("gguf-server")
volume = SETTINGS["MODELS_VOLUME"]  # another has to be there: a misspelled name is no new volume
models = modal.Volume.from_name(volume, create_if_missing=volume == "gguf-models")
registry = [modal.Secret.from_name(name) for name in SETTINGS["REGISTRY_SECRET"].split()]
hub = [modal.Secret.from_name(name) for name in SETTINGS["HF_TOKEN_SECRET"].split()]
keys = [modal.Secret.from_name(SETTINGS["API_KEY_SECRET"], required_keys=["GGUF_API_KEYS"])]
carried = SETTINGS | {"MODAL_APP_PLAN": json.dumps(PLAN)}
writing: dict[str, Any] = {
    "image": modal.Image.from_registry(SETTINGS["GGUF_IMAGE"], *registry),
    "env": carried | PLAN["environment"],
    "volumes": {"/models": models},
    "max_containers": int(SETTINGS["MAX_CONTAINERS"]),
    "timeout": min(STARTUP + 4 * HOUR, DAY),
}
reading = writing | {"volumes": {"/models": models.with_mount_options(read_only=True)}}
serving = reading | PLAN["resources"] | {"scaledown_window": 5 * MINUTE}
serving["env"] = writing["env"] | {"GGUF_OFFLINE": "on", "GGUF_PLAN": json.dumps(PLAN["placement"])}
private = SETTINGS["PROXY_AUTH"] != "off"
once = serving | {"single_use_containers": True}


def start(*options: str) -> "subprocess.Popen[bytes]":
    """The server, ready."""
    REASON.write_text("")
    process = subprocess.Popen(["gguf-server", "serve", "--termination-log", REASON, *options])
    give_up = time.monotonic() + STARTUP
    while subprocess.run(["healthcheck"], capture_output=True, check=False).returncode:
        if process.poll() is not None:
            raise RuntimeError(f"gguf-server ended with {process.returncode}: {REASON.read_text()}")
        if time.monotonic() > give_up:
            raise TimeoutError(f"gguf-server was not ready after {STARTUP} s")
        time.sleep(0.5)
    return process


@app.function(**writing, secrets=hub)
def download() -> None:
    subprocess.run(["gguf-server", "fetch"], check=True)
    models.commit()


@app.function(**writing)
def cleanup_gguf(keep: str = PLAN["placement"]["model"]["label"], yes: bool = False) -> None:
    subprocess.run(["gguf-server", "clean", "--keep-quant", keep, *["--yes"] * yes], check=True)
    models.commit()


@app.function(**reading)
def list_files() -> None:
    subprocess.run(["gguf-server", "ls"], check=True)


@app.function(**reading, secrets=hub)
def info() -> None:
    subprocess.run(["gguf-server", "info"], check=True)


@app.function(**reading, secrets=hub)
def gpu_specs() -> None:
    subprocess.run(["gguf-deploy", "plan"], check=True)


@app.function(**serving, secrets=keys, startup_timeout=min(STARTUP + MINUTE, DAY))
@modal.concurrent(max_inputs=PLAN["max_inputs"])
@modal.web_server(PORT, startup_timeout=STARTUP, requires_proxy_auth=private)
def serve_api() -> None:
    process = start("--host", "0.0.0.0")
    # A container without its server would refuse requests for ever; Modal starts another.
    threading.Thread(target=lambda: os._exit(process.wait() or 1), daemon=True).start()


@app.function(**once, secrets=keys)
def serve_demo(minutes: float = 5) -> None:
    process = start("--host", "0.0.0.0")
    with modal.forward(PORT) as tunnel, contextlib.suppress(subprocess.TimeoutExpired):
        print(f"{tunnel.url}/v1 for {minutes:g} minutes, with a key of GGUF_API_KEYS", flush=True)
        raise RuntimeError(f"gguf-server ended with {process.wait(minutes * MINUTE)}")


@app.function(**once)
def chat(message: str = "") -> None:
    if not message:
        modal.interact()
    start("--host", "127.0.0.1")
    subprocess.run(["gguf-server", "chat"], input=message or None, text=True, check=True)


@app.function(**once)
def test_gguf_q8() -> None:
    if (label := PLAN["placement"]["model"]["label"]) != "Q8_0":
        raise RuntimeError(f"the plan is for {label}; make one with --quant Q8_0")
    chat.local("Say hello.")


@app.function(**reading | {"env": carried | {"GGUF_MODELS_DIR": "/tmp/models"}}, cpu=2)
def test_small_gguf(model: str = "bartowski/SmolLM2-135M-Instruct-GGUF:Q8_0") -> None:
    start("--host", "127.0.0.1", "--context", "256", model)
    subprocess.run(["gguf-server", "chat"], input="Say hello.", text=True, check=True)


@app.function(**once)
def benchmark_llamacpp(options: str = "--workload single,eight") -> None:
    start("--host", "127.0.0.1")
    subprocess.run(["gguf-server", "bench", *options.split()], check=True)
