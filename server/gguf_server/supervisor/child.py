"""One engine process: started by name, spoken to over a socketpair, its last words kept."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from gguf_server.wire.framing import FrameReader, encode
from gguf_server.wire.messages import FromEngine, ToEngine

_log = logging.getLogger("gguf_server.engine")
_READ_BYTES = 1 << 16
_LAST_WORDS = 20
_REAP_SECONDS = 5.0

ENGINE_COMMAND = (sys.executable, "-m", "gguf_server.engine")


class Child:
    """A running ``ENGINE_COMMAND``. Use ``start``; ``end`` is safe to repeat."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._frames: FrameReader[FromEngine] = FrameReader(FromEngine)  # type: ignore[arg-type]
        self._oom_kills = oom_kills()
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._stderr = asyncio.create_task(self._read_stderr())

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> "Child":
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is ours, also before it can ignore that
                )
            except BaseException:  # cancelled above all
                writer.close()
                raise
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToEngine) -> None:
        """Never waits; to an engine that is gone it does nothing."""
        with contextlib.suppress(RuntimeError):  # uvloop's, for what is closed but not yet noticed
            self._writer.write(encode(message))

    async def receive(self) -> list[FromEngine]:
        """The next messages; an empty list when the engine is gone."""
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                return []
            if not data:
                return []
            if messages := self._frames.feed(data):
                return messages

    def kill(self) -> None:
        """The engine cannot refuse, and whatever it held is gone."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self, last_breath_seconds: float) -> str:
        """Make sure it is gone, by itself within so long; how it ended, in a few words."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(last_breath_seconds):
                    await self._process.wait()
        finally:  # when cancelled, too
            self._writer.close()
            self.kill()
            code = await self._reap()
        if code is None:
            return "does not die, not even by SIGKILL: it hangs in the kernel"
        how = f"exited with code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        if code == -signal.SIGKILL and oom_kills() > self._oom_kills:
            how += ", out of memory it seems"
        return f"{how}: {self._last_words[-1]}" if self._last_words else how

    async def _reap(self) -> int | None:
        """The exit code; None when there is none in time."""
        try:
            async with asyncio.timeout(_REAP_SECONDS):
                code = await self._process.wait()
                await self._stderr
        except TimeoutError:
            return None
        return code

    def io_counters(self) -> tuple[str, ...]:
        """Whatever the kernel counts as this process reading: changes while a load gets on.

        Bytes read, and page faults, which is how a memory-mapped file is read. Empty where there
        is no /proc.
        """
        try:
            io = Path(f"/proc/{self.pid}/io").read_text().split()
            stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ()
        rchar, read_bytes, minor_faults, major_faults = io[1], io[9], stat[7], stat[9]
        return (rchar, read_bytes, minor_faults, major_faults)

    async def _read_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while line := await _read_line(stream):
            level, text = _level_of(line.decode("utf-8", "replace").rstrip())
            if text:
                _log.log(level, "%s", text)
            if text and level >= logging.WARNING:
                self._last_words.append(text)


def _level_of(line: str) -> tuple[int, str]:
    """The engine's own lines begin with their level; what crashes does not and is an error."""
    name, _, text = line.partition(" ")
    level = logging.getLevelNamesMapping().get(name)
    return (logging.ERROR, line) if level is None else (level, text)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    """The next line, or as much of an overlong one as fits; empty at the end."""
    try:
        return await stream.readline()
    except ValueError:
        return await stream.read(_READ_BYTES)


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes this kernel has killed for want of memory, ours or others; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in vmstat.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
