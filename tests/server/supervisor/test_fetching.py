"""A fetch as a child process, played by a few lines of Python."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_server.errors import DiskFull, FetchCrashed
from gguf_server.models.progress import Progress
from gguf_server.supervisor.fetching import Answer, fetch

HANG_SECONDS = 60


def play(code: str, report: Callable[[Progress], None] = lambda _: None, *arguments: str) -> Answer:
    async def limited() -> Answer:
        async with asyncio.timeout(HANG_SECONDS):
            return await fetch(arguments, report, (sys.executable, "-c", code))

    return asyncio.run(limited())


def test_progress_is_reported_and_the_answer_understood() -> None:
    seen: list[Progress] = []
    answer = play(
        """
import sys
print('{"stage":"download","num_bytes":3,"total_bytes":12}', file=sys.stderr, flush=True)
print('a line for people', file=sys.stderr, flush=True)
print('{"path":"/m/a.gguf","reason":"the only one","warnings":["old"]}')
""",
        seen.append,
    )
    assert seen == [Progress("download", num_bytes=3, total_bytes=12)]
    assert (answer.reason, answer.warnings) == ("the only one", ("old",))


def test_arguments_reach_the_command() -> None:
    code = """import sys, json; print(json.dumps({"reason": " ".join(sys.argv[1:])}))"""
    assert play(code, lambda _: None, "org/repo", "--offline").reason == "org/repo --offline"


def test_an_error_is_raised_as_what_it_is() -> None:
    code = """
import sys
print('{"error":{"code":"disk_full","message":"needs 3 GB more"}}')
sys.exit(10)
"""
    with pytest.raises(DiskFull, match="needs 3 GB more"):
        play(code)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("print('{')", "ended with code 0"),
        ("import sys; sys.exit(3)", "ended with code 3"),
    ],
)
def test_a_fetch_that_says_nothing_sensible_is_one_clear_error(code: str, how: str) -> None:
    with pytest.raises(FetchCrashed, match=how):
        play(code)


def test_a_cancelled_fetch_is_stopped(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"""
import os, sys, time
open({str(mark)!r}, "w").write(str(os.getpid()))
print('{{"stage":"resolve"}}', file=sys.stderr, flush=True)
time.sleep(600)
"""

    async def story() -> None:
        begun = asyncio.Event()
        fetching = asyncio.create_task(
            fetch((), lambda _: begun.set(), (sys.executable, "-c", code))
        )
        async with asyncio.timeout(HANG_SECONDS):
            await begun.wait()
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching

    asyncio.run(story())
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
