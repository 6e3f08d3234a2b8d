"""The command on a terminal of its own, as a person would use it."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType
from typing import Self

LIMIT_SECONDS = 60.0  # ends a hang
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
_LAUNCH = """\
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("gguf_server", run_name="__main__")
"""


def environment(home: Path, **environ: str) -> dict[str, str]:
    """Nothing of the user's; a readline that writes no codes of its own while it waits."""
    inputrc = home / "inputrc"
    inputrc.write_text("set enable-bracketed-paste off\n")
    names = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    ours = {"HOME": str(home), "INPUTRC": str(inputrc), "TERM": "xterm"}
    return kept | ours | environ


class Terminal:
    def __init__(self, home: Path, *arguments: str, **environ: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\x00\xc8\x00\x00\x00\x00\x00")  # 24 x 200
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(home, **environ),
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(LIMIT_SECONDS)
        os.close(self._master)

    def keys(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def interrupts_the_prompt(self) -> None:
        """Python notices Ctrl-C while it waits for keys, and a moment before only with the next."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        deadline = time.monotonic() + LIMIT_SECONDS
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, "never waits for keys"
        self.keys(CTRL_C)

    def types(self, line: str) -> None:
        self.keys(line + "\r")

    def sees(self, pattern: str) -> str:
        """Waits for it, behind what was seen before; returns what came up to its end."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (found := re.search(pattern, self.shown[self._seen :])):
            assert time.monotonic() < deadline, f"never seen: {pattern!r} in {self.shown!r}"
            assert self._read(), f"ended before {pattern!r}: {self.shown!r}"
        passage = self.shown[self._seen : self._seen + found.end()]
        self._seen += found.end()
        return passage

    def ends(self) -> int:
        while self._read():
            pass
        return self._process.wait(LIMIT_SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], LIMIT_SECONDS)
        assert ready, f"nothing more came after {self.shown!r}"
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)
