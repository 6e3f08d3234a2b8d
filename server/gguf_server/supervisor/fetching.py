"""``gguf-server fetch`` as a child process: stopped at any moment, its memory gone afterwards."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence

import msgspec

from gguf_server.errors import FetchCrashed, startup_error
from gguf_server.models.foreign import printable
from gguf_server.models.progress import Progress

FETCH_COMMAND = (sys.executable, "-m", "gguf_server", "fetch", "--json", "--end-with-parent")
_MAX_LINE_BYTES = 1 << 20
_GOODBYE_SECONDS = 3.0  # to let go of its lease, so that another machine need not wait
_log = logging.getLogger(__name__)


class _Failure(msgspec.Struct):
    code: str
    message: str


class Answer(msgspec.Struct):
    """What of the command's answer is of interest here: an error, or what there is to say."""

    error: _Failure | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()


async def fetch(
    arguments: Sequence[str],
    report: Callable[[Progress], None],
    command: Sequence[str] = FETCH_COMMAND,
) -> Answer:
    """Until the model is there. Raises the ``StartupError`` that the command ended with."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,  # Ctrl-C is ours: it is told to stop
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        last, answer = await asyncio.gather(_follow(process.stderr, report), process.stdout.read())
        code = await process.wait()
    finally:
        await _end(process)
    return _understood(answer, code, last)


def _understood(text: bytes, code: int, last: str) -> Answer:
    try:
        answer = msgspec.json.decode(text, type=Answer)
    except msgspec.MsgspecError:
        how = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
        said = f" ({last})" if last else ""
        msg = f"the process that fetches {how}{said}; what has arrived is kept, start again"
        raise FetchCrashed(msg) from None
    if answer.error is not None:
        raise startup_error(answer.error.code, answer.error.message)
    return answer


async def _follow(stderr: asyncio.StreamReader, report: Callable[[Progress], None]) -> str:
    """A line is how far it is, or something for the log; the last of those is returned."""
    decoder = msgspec.json.Decoder(Progress)
    last = ""
    async for line in stderr:
        try:
            report(decoder.decode(line))
        except msgspec.MsgspecError:
            last = printable(line.decode("utf-8", "replace"))
            _log.info("fetch: %s", last)
    return last


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended, as it should
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await process.wait()
        process.kill()
    await process.wait()
