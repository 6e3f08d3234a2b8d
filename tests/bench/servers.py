"""The servers under test: where each comes from, its command line, what it understands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gguf_server.bench.client import Target
from gguf_server.endpoint import Endpoint
from tests.bench.vocabulary import control_tokens

ROOT = Path(__file__).parents[2]
NUM_BATCH_TOKENS = 512  # a step's, by default: ours, and a micro-batch of llama.cpp's

Kind = Literal["gguf-server", "llama-server", "llama_cpp.server", "examples/server"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The same for every server: what a comparison must hold equal."""

    model: Path
    num_slots: int
    num_context_tokens: int = 2048  # per slot
    num_threads: int = 2
    num_waiting: int = 1  # at once: none may be refused
    embeddings: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    kind: Kind
    program: str
    options: tuple[str, ...] = ()

    @property
    def ready_path(self) -> str:
        paths = {"gguf-server": "/readyz", "llama-server": "/health", "examples/server": "/healthz"}
        return paths.get(self.kind, "/v1/models")

    @property
    def is_ours(self) -> bool:
        return self.kind == "gguf-server"

    def command(self, deployment: Deployment, port: int) -> list[str]:
        arguments = {
            "gguf-server": _our_arguments,
            "llama-server": _llama_server_arguments,
            "llama_cpp.server": _llama_cpp_server_arguments,
            "examples/server": _example_server_arguments,
        }[self.kind](deployment, port)
        return [self.program, *arguments, *self.options]

    def target(self, endpoint: Endpoint, model: str, deployment: Deployment) -> Target:
        """Both Python servers pass over ``ignore_eos``, and llama_cpp.server refuses the type
        ``json_schema``."""
        if self.kind in ("gguf-server", "llama-server"):
            return Target(endpoint, model)
        ends = dict.fromkeys(map(str, control_tokens(deployment.model)), -100.0)
        plain = Target(endpoint, model, ignore_eos=False, logit_bias=ends)
        return (
            plain if self.kind == "examples/server" else replace(plain, schema_type="json_object")
        )


def ours(options: tuple[str, ...] = ()) -> Server:
    return Server(
        "gguf-server", "gguf-server", str(Path(sys.executable).parent / "gguf-server"), options
    )


def peers() -> list[Server]:
    """llama-server in both layouts of its cache, and both servers that llama-cpp-python has."""
    program = str(_llama_server())
    python, example = printed("python-peers")
    return [
        Server("llama-server split", "llama-server", program),
        Server("llama-server unified", "llama-server", program, ("--kv-unified",)),
        Server("llama_cpp.server", "llama_cpp.server", python),
        Server("examples/server", "examples/server", python, (example,)),
    ]


def batched_bench() -> Path:
    """llama.cpp without a server around it, of the same build as llama-server."""
    return _llama_server().with_name("llama-batched-bench")


def _llama_server() -> Path:
    return Path(printed("build-peer")[0])


def printed(script: str, *arguments: str) -> list[str]:
    """The lines of a script that makes something once, with this Python, and says where it is."""
    done = subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def _our_arguments(deployment: Deployment, port: int) -> list[str]:
    return [
        *("serve", "--host", "127.0.0.1", "--port", str(port)),
        *("--slots", str(deployment.num_slots)),
        *("--context", str(deployment.num_context_tokens)),
        *("--threads", str(deployment.num_threads)),
        *("--max-waiting", str(deployment.num_waiting)),
        *("--flash-attention", "on"),
        *(("--embeddings", "on") if deployment.embeddings else ()),  # of a chat model: the mean
        str(deployment.model),
    ]


def _llama_server_arguments(deployment: Deployment, port: int) -> list[str]:
    return [
        *("--host", "127.0.0.1", "--port", str(port), "--model", str(deployment.model)),
        *("--parallel", str(deployment.num_slots)),
        *("--ctx-size", str(deployment.num_context_tokens * deployment.num_slots)),
        *("--threads", str(deployment.num_threads)),
        *("--flash-attn", "on", "--offline"),
        *(("--embedding", "--pooling", "mean") if deployment.embeddings else ()),
    ]


def _llama_cpp_server_arguments(deployment: Deployment, port: int) -> list[str]:
    """It has no slots: it answers one after the other, and that is measured. Two of its defaults
    would measure something else: it cuts an answer short when the next request comes, and has all
    logits of a prompt computed. It pools no embeddings: each token has its vector."""
    return [
        *("-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(deployment.model)),
        *("--n_ctx", str(deployment.num_context_tokens)),
        *("--n_batch", str(NUM_BATCH_TOKENS)),
        *("--n_threads", str(deployment.num_threads)),
        *("--n_threads_batch", str(deployment.num_threads)),
        *("--flash_attn", "true", "--interrupt_requests", "false", "--logits_all", "false"),
        *(("--embedding", "true") if deployment.embeddings else ()),
    ]


def _example_server_arguments(deployment: Deployment, port: int) -> list[str]:
    """Its cache is unified and keeps the prefixes of sequences that nobody uses, by default."""
    model: dict[str, Any] = {
        "path": str(deployment.model),
        "n_ctx": deployment.num_context_tokens * deployment.num_slots,
        "n_seq_max": deployment.num_slots,
        "n_batch": NUM_BATCH_TOKENS,
        "threads": deployment.num_threads,
        "threads_batch": deployment.num_threads,
        "flash_attn": True,
    }
    if deployment.embeddings:
        model |= {"embedding": True, "pooling_type": 1}  # the mean
    config = {"server": {"host": "127.0.0.1", "port": port}, "model": model}
    program = Path(__file__).with_name("example_server.py")
    return ["-P", str(program), json.dumps(config)]  # -P: our modules are not its
