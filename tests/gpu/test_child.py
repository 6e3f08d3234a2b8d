import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.gpu.child import ChildFailed, ask


def module(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "asked_child.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
    return "asked_child"


def test_a_child_answers_what_it_is_asked(tmp_path, monkeypatch):
    name = module(tmp_path, "import sys; print(sys.stdin.read()[::-1], sys.argv[1])", monkeypatch)
    assert asyncio.run(ask(name, "x", question=b"abc")) == b"cba x\n"


def test_a_child_that_fails_says_why(tmp_path, monkeypatch):
    name = module(tmp_path, "import sys; sys.exit('no such model')", monkeypatch)
    with pytest.raises(ChildFailed, match="asked_child ended with code 1: no such model"):
        asyncio.run(ask(name))


def test_out_of_time_a_child_ends_with_its_own_children(tmp_path, monkeypatch):
    text = f"""
import pathlib, subprocess, time
child = subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(f"{{child.pid}}\\n")
time.sleep(600)
"""
    name = module(tmp_path, text, monkeypatch)

    async def ask_until_it_has_a_child() -> None:
        asking = asyncio.create_task(ask(name))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert not asking.done()
            await asyncio.sleep(0.01)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await _gone(int((tmp_path / "pid").read_text()))

    asyncio.run(asyncio.wait_for(ask_until_it_has_a_child(), 60))


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


async def _gone(process: int) -> None:
    """Or dead, where nobody collects orphans."""
    while True:
        try:
            os.kill(process, 0)
            state = _state(process)
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        await asyncio.sleep(0.01)
