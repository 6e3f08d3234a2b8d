"""Clients that ask one after the other, all at once; they can be sent away and called back."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import httpx

from tests.soak.acts import Act, acts
from tests.soak.client import PATIENCE_SECONDS, perform
from tests.soak.law import Ending

# What may happen to a good request when engines are lost, queues full and servers replaced.
EXCUSED = {
    "chat_template_error",  # a machine so slow that rendering took its limit
    "crashing_request",
    "engine_died",
    "engine_unavailable",
    "model_loading",
    "queue_full",
    "server_draining",
}
_AGAIN_SECONDS = 0.1
# The server keeps an idle connection for longer, so that none is closed while it is used anew.
_IDLE_SECONDS = 1.0


@dataclass(slots=True)
class Tally:
    """What the clients of one server saw."""

    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    num_answered: int = 0
    finished_sequences: int = 0
    uncertain_sequences: int = 0  # of those who left, and of requests that failed
    problems: list[str] = field(default_factory=list)

    def add(self, act: Act, ending: Ending, *, unreachable: bool) -> None:
        self.endings[act.name, ending.kind] += 1
        self.num_answered += ending.kind in ("finished", "broken")
        if ending.kind in ("failed", "refused"):
            self.refusals[ending.detail] += 1
        if act.path.endswith("completions"):
            if ending.kind == "finished":
                self.finished_sequences += act.num_sequences
            elif ending.kind in ("left", "failed", "unreached"):
                self.uncertain_sequences += act.num_sequences
        if problem := problem_of(act, ending, unreachable=unreachable):
            self.problems.append(f"{act.name}: {problem}")


def problem_of(act: Act, ending: Ending, *, unreachable: bool) -> str:
    """Why an ending is none that the act could have; empty if it is one."""
    match ending.kind:
        case "broken":
            return ending.detail
        case "unreached" if not unreachable:
            return f"{ending.detail}, of a server that was up"
        case "refused" | "failed" if ending.detail not in {act.code, *EXCUSED}:
            return f"{ending.kind} with {ending.detail}"
        case "finished" if act.code:
            return f"answered instead of {act.code}"
    return ""


class Traffic:
    """``unreachable`` is true while a server is being replaced."""

    def __init__(self, seed: int, num_clients: int) -> None:
        self.tally = Tally()
        self.unreachable = False
        self._sources = [acts(f"{seed}/{number}") for number in range(num_clients)]
        self._clients: list[asyncio.Task[None]] = []
        self._leaving = asyncio.Event()

    def start(self, url: str) -> None:
        self._leaving.clear()
        self._clients = [asyncio.create_task(self._ask(url, n)) for n in range(len(self._sources))]

    async def stop(self) -> None:
        """Each client ends what it is doing, and closes its connection."""
        self._leaving.set()
        await asyncio.gather(*self._clients)

    async def _ask(self, url: str, number: int) -> None:
        limits = httpx.Limits(keepalive_expiry=_IDLE_SECONDS)
        timeout = httpx.Timeout(PATIENCE_SECONDS)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=timeout) as http:
            while not self._leaving.is_set():
                act = next(self._sources[number])
                was_unreachable = self.unreachable
                ending = await perform(http, act)
                unreachable = was_unreachable or self.unreachable
                self.tally.add(act, ending, unreachable=unreachable)
                if ending.kind in ("refused", "unreached"):
                    await asyncio.sleep(_AGAIN_SECONDS)
