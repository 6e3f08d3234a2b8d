"""The soak: two servers one after the other on one port, under traffic that never asks which."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak import verdict
from tests.soak.acts import CONTEXT, MAX_BODY_BYTES
from tests.soak.chaos import Chaos
from tests.soak.fill import fill
from tests.soak.subject import Quiet, Subject
from tests.soak.traffic import Tally, Traffic
from tests.soak.verdict import Fill

SLOTS = 8
# A cache of a stream for each slot; and one pool that is too small for all, so that sequences are
# preempted and prefixes forgotten.
SPLIT = ("--kv-layout", "split")
UNIFIED = ("--kv-layout", "unified", "--kv-cells", str(SLOTS * CONTEXT // 4))
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
_LONGEST_PEACE_SECONDS = 20.0
_FEWEST_ANSWERS = 60  # of a segment
_HANG_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Soaking:
    """``seconds`` is the time under load; looking around comes on top."""

    model: Path
    directory: Path
    seconds: float
    seed: int
    num_clients: int = 24


@dataclass(frozen=True, slots=True)
class Leg:
    """One server's life: segments under chaos, then some in peace."""

    name: str
    options: tuple[str, ...]
    num_chaotic: int
    num_peaceful: int


# The first segment of each kind is the warm-up. In peace, one engine lives long enough to show
# whether it grows.
LEGS = (Leg("split cache", SPLIT, 4, 0), Leg("unified cache", UNIFIED, 6, 5))
NUM_SEGMENTS = sum(leg.num_chaotic + leg.num_peaceful for leg in LEGS)


@dataclass(slots=True)
class Life:
    """What was seen of one leg."""

    leg: Leg
    tally: Tally
    chaos: Counter[str]
    quiets: list[Quiet] = field(default_factory=list)
    peace: list[Quiet] = field(default_factory=list)
    restarts: dict[str, float] = field(default_factory=dict)
    miscounted: list[str] = field(default_factory=list)
    preemptions: float = 0.0
    fill: Fill | None = None
    exit_code: int | None = None

    def problems(self) -> list[str]:
        assert self.fill is not None
        found = [
            *self.tally.problems,
            *verdict.leaks(self.quiets, self.peace),
            *self.fill.problems(),
            *self.miscounted,
        ]
        if self.exit_code != 0:
            found.append(f"the server ended with code {self.exit_code}")
        return [f"{self.leg.name}: {each}" for each in found]


async def soak(soaking: Soaking) -> list[Life]:
    """Each leg's life. The traffic goes on from one server to the next."""
    traffic = Traffic(soaking.seed, soaking.num_clients)
    lives: list[Life] = []
    port = 0
    for leg in LEGS:
        with _subject(soaking, leg, port) as subject:
            await traffic.stop()
            traffic.unreachable = False
            port = subject.port
            traffic.tally = Tally()
            life = await _live(soaking, leg, subject, traffic)
            lives.append(life)
            traffic.start(subject.url)
            await asyncio.sleep(_segment_seconds(soaking) / 2)
            traffic.unreachable = True
            life.exit_code = await asyncio.to_thread(subject.end)
    await traffic.stop()
    return lives


@contextlib.contextmanager
def _subject(soaking: Soaking, leg: Leg, port: int) -> Iterator[Subject]:
    directory = soaking.directory / leg.name.replace(" ", "-")
    directory.mkdir()
    template = directory / "template.jinja"
    template.write_text(_TEMPLATE)
    options = {
        "port": port,
        "slots": SLOTS,
        "context": CONTEXT,
        "threads": 1,
        "max-batch-tokens": 128,
        "max-waiting": 12,
        "max-body-bytes": MAX_BODY_BYTES,
        "output-reservation-tokens": 16,
        "host-cache-bytes": 1 << 20,
        "embeddings": "on",
        "chat-template": template,
        "step-stall-seconds": 3,
        "load-stall-seconds": 15,
        "max-crashes": 100_000,
        "crash-window-seconds": 3,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subject = Subject(directory, str(soaking.model), *words, *leg.options)
    try:
        subject.server.wait_until_ready()
        yield subject
    finally:
        subject.server.stop()


async def _live(soaking: Soaking, leg: Leg, subject: Subject, traffic: Traffic) -> Life:
    seconds = _segment_seconds(soaking)
    chaos = Chaos(soaking.seed, min(seconds, _LONGEST_PEACE_SECONDS))
    life = Life(leg, traffic.tally, chaos.done)
    for number in range(leg.num_chaotic):
        quiet = await _segment(subject, traffic, seconds, chaos)
        if number > 0:
            life.quiets.append(quiet)
    for number in range(leg.num_peaceful):
        quiet = await _segment(subject, traffic, seconds, None)
        life.quiets.append(quiet)
        if number > 0:
            life.peace.append(quiet)
    life.miscounted = _miscounted(subject, traffic.tally)
    life.restarts = subject.metrics(r'engine_restarts_total\{cause="(\w+)"\}')
    life.preemptions = subject.metric("preemptions_total")
    life.fill = await fill(subject)
    return life


async def _segment(
    subject: Subject, traffic: Traffic, seconds: float, chaos: Chaos | None
) -> Quiet:
    """Traffic for as long, but not before something was done: also a slow machine warms up."""
    num_answered = traffic.tally.num_answered + _FEWEST_ANSWERS
    num_attacks = chaos.done.total() + 1 if chaos else 0
    traffic.start(subject.url)
    attacks = asyncio.create_task(chaos.go_on(subject, traffic.tally)) if chaos else None
    await asyncio.sleep(seconds)
    try:
        async with asyncio.timeout(_HANG_SECONDS):
            while traffic.tally.num_answered < num_answered or (  # noqa: ASYNC110 -- of others
                chaos and chaos.done.total() < num_attacks
            ):
                await asyncio.sleep(0.1)
    except TimeoutError:
        traffic.tally.problems.append(f"nearly nothing was answered in {_HANG_SECONDS:g} s")
    if attacks:
        attacks.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attacks
    await traffic.stop()
    return await asyncio.to_thread(subject.quiet)


def _miscounted(subject: Subject, tally: Tally) -> list[str]:
    ends = subject.metrics(r'requests_total\{finished_reason="(\w+)"\}')
    finished = int(ends["stop"] + ends["length"])
    return verdict.miscounted(tally.finished_sequences, tally.uncertain_sequences, finished)


def _segment_seconds(soaking: Soaking) -> float:
    return soaking.seconds / NUM_SEGMENTS


def new_seed() -> int:
    return time.time_ns() % 1_000_000
