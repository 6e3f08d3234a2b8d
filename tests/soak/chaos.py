"""Takes engines away: killed, aborted as llama.cpp does, or stopped until the server notices."""

import asyncio
import random
import signal
from collections import Counter

from tests.soak.subject import Subject
from tests.soak.traffic import Tally

_SIGNALS = {"killed": signal.SIGKILL, "aborted": signal.SIGABRT, "stopped": signal.SIGSTOP}
_WEIGHTS = (4, 3, 2)
_WHILE_LOADING = 0.2
_FEWEST_ANSWERS = 20


class Chaos:
    """``every_seconds`` is the longest time between two, where the machine is fast enough."""

    def __init__(self, seed: int, every_seconds: float) -> None:
        self.done: Counter[str] = Counter()
        self._chance = random.Random(f"{seed}/chaos")
        self._every_seconds = every_seconds

    async def go_on(self, subject: Subject, tally: Tally) -> None:
        """Until cancelled. An engine serves some requests before it is lost, or is lost before it
        serves any."""
        while True:
            num_answered = tally.num_answered + _FEWEST_ANSWERS
            await asyncio.sleep(self._chance.uniform(0.2, 1) * self._every_seconds)
            if self._chance.random() >= _WHILE_LOADING:
                while tally.num_answered < num_answered:  # noqa: ASYNC110 -- of others
                    await asyncio.sleep(0.1)
            name = self._chance.choices(list(_SIGNALS), _WEIGHTS)[0]
            if subject.signal_engine(_SIGNALS[name]):
                self.done[name] += 1
