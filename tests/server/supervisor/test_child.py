"""How an engine process ended, in words."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gguf_server.supervisor import child
from gguf_server.supervisor.child import Child, oom_kills


@pytest.mark.parametrize(
    ("kills", "words"),
    [((3, 3), "was killed by SIGKILL"), ((3, 4), "was killed by SIGKILL, out of memory it seems")],
)
def test_a_kill_is_called_out_of_memory_only_if_the_kernel_counted_one(
    monkeypatch: pytest.MonkeyPatch, kills: tuple[int, int], words: str
) -> None:
    counts = iter(kills)
    monkeypatch.setattr(child, "oom_kills", lambda: next(counts))

    async def story() -> str:
        command = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
        return await (await Child.start(command, os.environ)).end(20)

    assert asyncio.run(story()) == words


def test_the_kernel_counts_its_kills(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 17\noom_kill 4\noom_killer_else 9\n")
    assert oom_kills(vmstat) == 4
    assert oom_kills(tmp_path / "missing") == 0
