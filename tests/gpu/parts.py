"""`python -m tests.gpu.parts`: loads a model as the engine does and tells where the memory went.

Reads an ``EngineConfig`` as JSON, prints JSON: llama.cpp's own count for each kind of memory, and
the card's memory in use after each step, by the driver or, on a CPU, by the kernel.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from gguf_server.engine.llama import binding
from gguf_server.engine.llama.breakdown import breakdown
from gguf_server.engine.llama.log import LlamaLog
from gguf_server.engine.llama.model import load
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.wire.messages import EngineConfig, LoadStage
from tests.gpu.card import find, memory


def main() -> None:
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=EngineConfig)
    card = find("gpu" if config.device == "gpu" else "cpu")
    found = measure(config, memory(card, os.getpid))
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


def measure(config: EngineConfig, read: Callable[[], int]) -> dict[str, Any]:
    # On a CPU the memory is this process's own, all of it.
    in_use = {"before": read() if config.device == "gpu" else 0}
    log = LlamaLog(lambda _level, _line: None)
    binding.start(log.write, log.abort)
    binding.free_bytes()  # asks the driver, which opens its context for it
    in_use["driver"] = read()

    def progress(stage: LoadStage, fraction: float) -> None:
        if stage == "context" and not fraction:
            in_use["weights"] = read()

    model = load(config, progress)
    in_use["context"] = read()
    LlamaRunner(model).warm_up()
    in_use["warm-up"] = read()
    uses = [use for context in model.contexts for use in breakdown(context)]
    devices = binding.devices()
    model.close()
    return {"uses": msgspec.to_builtins(uses), "in_use": in_use, "devices": devices}


if __name__ == "__main__":
    main()
