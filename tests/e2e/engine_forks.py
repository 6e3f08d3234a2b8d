"""Engine processes by the hundred: ``engine_forks.py``, a model file a line, an ending a line.

What an engine imports is imported once; each file is then loaded in a fork of that, which has its
own llama.cpp. A fork that loads its file is asked for nothing and leaves.
"""

import json
import os
import select
import socket
import sys
import tempfile
import time
from typing import IO

from gguf_server.engine import __main__ as engine
from gguf_server.wire.framing import FrameReader, encode
from gguf_server.wire.messages import (
    PROTOCOL_VERSION,
    EngineConfig,
    FromEngine,
    Load,
    LoadFailed,
    Ready,
)

HANG_SECONDS = 30.0


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(_load(line.rstrip("\n"))), flush=True)


def _load(path: str) -> dict[str, object]:
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as stderr:
        pid = os.fork()
        if pid == 0:
            ours.close()
            _become_engine(theirs, stderr)
        theirs.close()
        with ours:
            config = EngineConfig(model_path=path, context_tokens=64, slots=1)
            ours.sendall(encode(Load(PROTOCOL_VERSION, config)))
            failure, is_ready = _listen(ours)
        code = _reap(pid)
        stderr.seek(0)
        words = stderr.read().decode(errors="replace")
    return {"code": code, "failure": failure, "is_ready": is_ready, "stderr": words}


def _become_engine(channel: socket.socket, stderr: IO[bytes]) -> None:
    os.dup2(stderr.fileno(), 2)
    sys.argv = ["engine", str(channel.detach())]
    try:
        engine.main()
    except SystemExit as exc:
        os._exit(exc.code if isinstance(exc.code, int) else 1)
    os._exit(0)


def _listen(channel: socket.socket) -> tuple[str, bool]:
    """What it says until it is ready, or gone."""
    frames: FrameReader[FromEngine] = FrameReader(FromEngine)  # type: ignore[arg-type]
    failure = ""
    while select.select([channel], [], [], HANG_SECONDS)[0]:
        try:
            data = channel.recv(1 << 16)
        except ConnectionResetError:
            return failure, False
        if not data:
            return failure, False
        for message in frames.feed(data):
            if isinstance(message, Ready):
                return failure, True
            if isinstance(message, LoadFailed):
                failure = message.message
    return "hangs", False


def _reap(pid: int) -> int:
    """Its exit code; negative for a signal."""
    deadline = time.monotonic() + HANG_SECONDS
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
        time.sleep(0.001)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
