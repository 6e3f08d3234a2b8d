"""Does one act against a server and says how it ended."""

import contextlib
from collections.abc import AsyncIterator

import httpx

from tests.soak.acts import Act
from tests.soak.law import Ending, StreamLaw, whole

PATIENCE_SECONDS = 120.0  # only ends a hang, which breaks the law
_DATA = "data: "


async def perform(http: httpx.AsyncClient, act: Act) -> Ending:
    """Never raises: what cannot be told apart from a bug is ``broken``."""
    try:
        async with _answer(http, act) as response:
            return await _read(response, act)
    except httpx.ConnectError:
        return Ending("unreached", "not connected")
    except httpx.ReadTimeout:
        left = act.leaves == "before"
        return Ending("left") if left else Ending("broken", "no answer")
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as exc:
        return Ending("unreached", f"cut off: {exc}")


@contextlib.asynccontextmanager
async def _answer(http: httpx.AsyncClient, act: Act) -> AsyncIterator[httpx.Response]:
    """Who leaves before the answer is impatient: the connection is closed while it waits."""
    patience = 0.02 * act.leaves_after if act.leaves == "before" else PATIENCE_SECONDS
    timeout = httpx.Timeout(PATIENCE_SECONDS, read=patience)
    headers = {"content-type": "application/json"}
    content = act.content if act.method == "POST" else None
    async with http.stream(
        act.method, act.path, content=content, headers=headers, timeout=timeout
    ) as response:
        yield response


async def _read(response: httpx.Response, act: Act) -> Ending:
    if not act.streams or response.status_code != 200:
        try:
            return whole(response.status_code, await response.aread(), act.num_sequences)
        except (httpx.RemoteProtocolError, httpx.ReadError) as exc:
            return Ending("broken", f"cut off in an answer: {exc}")
    law = StreamLaw(act.num_sequences)
    num_events = 0
    try:
        async for line in response.aiter_lines():
            if not line.startswith(_DATA):
                continue
            law.push(line.removeprefix(_DATA))
            num_events += 1
            if act.leaves == "midway" and num_events >= act.leaves_after:
                return Ending("left")
    except (httpx.RemoteProtocolError, httpx.ReadError) as exc:
        return Ending("broken", f"cut off in a stream: {exc}")
    return law.ending()
