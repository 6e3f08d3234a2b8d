"""Asks a program of ours in a process of its own; nothing of it is left behind."""

import asyncio
import contextlib
import os
import signal
import sys

_LAST_LINES = 5


class ChildFailed(Exception):
    """It ended badly; carries the end of what it printed."""


async def ask(*arguments: str, question: bytes = b"", means: tuple[int, ...] = ()) -> bytes:
    """`python -m ARGUMENTS`: what it prints. ``means`` are exit codes that are answers, too.

    Cancelled or out of time, its whole session ends.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        answer, words = await process.communicate(question)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode not in (0, *means):
        tail = "\n".join(words.decode(errors="replace").splitlines()[-_LAST_LINES:])
        raise ChildFailed(f"{arguments[0]} ended with code {process.returncode}: {tail}")
    return answer
