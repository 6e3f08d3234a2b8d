"""An engine without a model that does what it is told: ``fake_engine.py DIR LIFE... FD``.

Each start takes the next LIFE, the last one again and again: acts separated by spaces, some with
an argument after a colon. DIR counts the starts.
"""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from gguf_server.wire.framing import FrameReader, encode
from gguf_server.wire.messages import (
    PROTOCOL_VERSION,
    Accepted,
    Embedded,
    FromEngine,
    Heartbeat,
    Load,
    LoadFailed,
    LoadProgress,
    Ready,
    Started,
    StepOutput,
    Submit,
    TextDelta,
    ToEngine,
)
from tests.facts import FACTS, STATS

_BEAT_SECONDS = 0.1


class FakeEngine:
    """The other end of the socket."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)  # type: ignore[arg-type]

    def play(self, life: str) -> None:
        acts: dict[str, Callable[[str], object]] = {
            "loads": self.loads,
            "reads": self.reads,
            "ready": self.ready,
            "serves": self.serves,
            "embeds": self.embeds,
            "hangs": lambda _: signal.pause(),
            "stops": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
            "says": lambda text: print(text.replace("_", " "), file=sys.stderr, flush=True),
            "exits": lambda code: sys.exit(int(code)),
            "dies": lambda _: os.kill(os.getpid(), signal.SIGKILL),
            "aborts": lambda _: os.abort(),
            "babbles": lambda _: self._socket.sendall(b"HTTP/1.1 200 OK\r\n"),
            "fails": lambda text: self.send(LoadFailed(text.replace("_", " "), "load_failed")),
            "closes": lambda _: self._socket.shutdown(socket.SHUT_RDWR),
        }
        [load] = self.receive()
        assert isinstance(load, Load)
        for act in life.split():
            name, _, argument = act.partition(":")
            acts[name](argument)

    def send(self, message: FromEngine) -> None:
        self._socket.sendall(encode(message))

    def receive(self) -> list[ToEngine]:
        data = self._socket.recv(1 << 16)
        if not data:
            os._exit(0)
        return self._frames.feed(data)

    def loads(self, seconds: str) -> None:
        """Slowly, telling how far it is."""
        end = time.monotonic() + float(seconds)
        while (left := end - time.monotonic()) > 0:
            self.send(LoadProgress("weights", 1 - left / float(seconds)))
            time.sleep(_BEAT_SECONDS)

    def reads(self, seconds: str) -> None:
        """Slowly, without a word: only the kernel sees that something is being read."""
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            Path(__file__).read_bytes()
            time.sleep(_BEAT_SECONDS)

    def ready(self, stall_seconds: str) -> None:
        facts = msgspec.structs.replace(FACTS, stall_seconds=float(stall_seconds or 0))
        self.send(Ready(PROTOCOL_VERSION, facts))

    def embeds(self, seconds: str) -> None:
        """Too busy to beat."""
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            self.send(Embedded(1, 3, b""))
            time.sleep(_BEAT_SECONDS)

    def serves(self, seconds: str) -> None:
        """Beats; answers each request with one word and never ends it."""
        end = time.monotonic() + float(seconds or 3600)
        while time.monotonic() < end:
            if not select.select([self._socket], [], [], _BEAT_SECONDS)[0]:
                self.send(Heartbeat())
                continue
            for message in self.receive():
                if isinstance(message, Submit):
                    self.send(Accepted(message.id, 3))
                    started, delta = Started(message.id, 0), TextDelta(message.id, "word", 1)
                    self.send(StepOutput(STATS, [started], [delta], [], []))


def main() -> None:
    directory, *lives, fd = sys.argv[1:]
    starts = Path(directory) / "starts"
    with starts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    number = len(starts.read_text().splitlines())
    FakeEngine(int(fd)).play(lives[min(number, len(lives)) - 1])


if __name__ == "__main__":
    main()
