"""Takes engines away: killed, aborted as llama.cpp does, or stopped until the server notices."""

import asyncio
import random
import signal
from collections import Counter

from tests.soak.subject import Subject

_SIGNALS = {"killed": signal.SIGKILL, "aborted": signal.SIGABRT, "stopped": signal.SIGSTOP}
_WEIGHTS = (4, 3, 2)
_WHILE_LOADING = 0.2


class Chaos:
    """``every_seconds`` is the longest time between two."""

    def __init__(self, seed: int, every_seconds: float) -> None:
        self.done: Counter[str] = Counter()
        self._chance = random.Random(f"{seed}/chaos")
        self._every_seconds = every_seconds

    async def go_on(self, subject: Subject) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 1) * self._every_seconds)
            if self._chance.random() >= _WHILE_LOADING:
                await subject.until_ready()
            name = self._chance.choices(list(_SIGNALS), _WEIGHTS)[0]
            if subject.signal_engine(_SIGNALS[name]):
                self.done[name] += 1
