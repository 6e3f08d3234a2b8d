"""The process that renders: ``python -m gguf_server.prompt.worker``, frames on stdin and stdout.

It ends when its stdin does. It inherits no environment, so nothing secret is in its reach.
"""

import os
import resource
import signal
import sys
from datetime import datetime

import msgspec

from gguf_server.errors import ChatTemplateError
from gguf_server.parent import die_with_parent
from gguf_server.prompt.protocol import (
    MAX_MEMORY_BYTES,
    Refused,
    Render,
    Rendered,
    WorkerReady,
)
from gguf_server.prompt.template import render
from gguf_server.wire.framing import FrameReader, encode

_READ_BYTES = 1 << 16
# The renderer is the one who keeps time. This is for a template that loops when it is gone.
_ORPHAN_SECONDS = 10


def main() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = FrameReader(Render)
    _say(WorkerReady())
    while data := os.read(sys.stdin.fileno(), _READ_BYTES):
        for request in requests.feed(data):
            signal.alarm(_ORPHAN_SECONDS)
            _say(_answer(request))
            signal.alarm(0)


def _answer(request: Render) -> Rendered | Refused:
    try:
        prompt = render(request, now=datetime.now().astimezone())
    except ChatTemplateError as exc:
        return Refused(exc.message)
    return Rendered(prompt)


def _say(message: msgspec.Struct) -> None:
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
