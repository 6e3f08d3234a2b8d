"""Start to ready: from just before exec until a request may be sent, with the model's file in the
page cache (warm) and not (cold; everything else of the server stays in it).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from gguf_server.bench.client import Target, get, stream_chat
from gguf_server.bench.probe import served_model
from gguf_server.bench.report import number
from gguf_server.bench.workloads import Message, Prompt, text
from gguf_server.endpoint import OK, Endpoint
from tests.bench import markdown, metrics, page_cache
from tests.bench.running import launched, ready
from tests.bench.servers import Deployment, Server

Cache = Literal["cold", "warm"]
CACHES: tuple[Cache, ...] = ("cold", "warm")
COLUMNS = ("server", "file", "answer", "ready", "first token", "second", "behind", "ratio")
LEGEND = """\
Seconds, medians. Answer: the first to any request; ready: the first 200 of the probe, both since
just before exec. Tokens: of two like requests after that. Behind and ratio: ready beside
llama-server. The file is in the page cache (warm) or not (cold); programs and libraries are."""
# What our engine tells of its load; before it are two Pythons, their imports and the socket.
STAGES = ("before", "start", "weights", "context", "warmup")
POLL_SECONDS = 0.005
_DROP_SECONDS = 5.0
_NUM_WORDS = 20  # in either message


@dataclass(frozen=True, slots=True)
class Start:
    """One start. ``answer``: of any status. The tokens are those of two like requests after it was
    ready: who calls itself ready and is not warm, pays with the first."""

    server: Server
    cache: Cache
    resident_share: float | None
    answer_seconds: float
    ready_seconds: float
    first_token_seconds: float | None
    second_token_seconds: float | None
    stages: dict[str, float]

    @property
    def is_what_it_says(self) -> bool:
        return self.resident_share == (0.0 if self.cache == "cold" else 1.0)


async def measure(servers: Sequence[Server], deployment: Deployment, repeat: int) -> list[Start]:
    """Servers take turns, and the order turns round with each repeat: drift favours none."""
    turns = [
        (server, cache)
        for turn in range(repeat)
        for cache in CACHES
        for server in servers[:: -1 if turn % 2 else 1]
    ]
    return [await measure_one(server, deployment, cache) for server, cache in turns]


async def measure_one(server: Server, deployment: Deployment, cache: Cache) -> Start:
    print(f"bench: start, {server.name}, {cache} file", file=sys.stderr)
    share = await _prepare(deployment.model, cache)
    with launched(server, deployment) as program:
        answer_at, ready_at = await ready(program, POLL_SECONDS)
        tokens = await _tokens(program.endpoint)
        stages = await _load_seconds(program.endpoint) if server.is_ours else {}
    ready_seconds = ready_at - program.began_at
    if stages:
        stages["before"] = ready_seconds - sum(stages.values())
    return Start(server, cache, share, answer_at - program.began_at, ready_seconds, *tokens, stages)


async def _prepare(model: Path, cache: Cache) -> float | None:
    """The share of the file that is in the cache then. The last server may take a moment to go."""
    if cache == "warm":
        page_cache.fill(model)
    deadline = time.monotonic() + _DROP_SECONDS
    while cache == "cold" and time.monotonic() < deadline:
        page_cache.drop(model)
        if not page_cache.resident_share(model):
            break
        await asyncio.sleep(POLL_SECONDS)
    return page_cache.resident_share(model)


async def _tokens(endpoint: Endpoint) -> tuple[float | None, float | None]:
    target = Target(endpoint, await served_model(endpoint), ignore_eos=False)
    return await _token_seconds(target, "first"), await _token_seconds(target, "second")


async def _token_seconds(target: Target, seed: str) -> float | None:
    """Of one token, prompt included; None where the request failed."""
    words = text(f"start/{seed}", _NUM_WORDS)
    # A system message, or the template's own would be a prefix that only the first computes.
    messages = (Message("system", f"{seed} {words}"), Message("user", words))
    prompt = Prompt(messages, max_tokens=1)
    outcome = await stream_chat(target, prompt)
    if outcome.failure:
        return None
    end = outcome.text_at[0] if outcome.text_at else outcome.finished_at
    return end - outcome.submitted_at


async def _load_seconds(endpoint: Endpoint) -> dict[str, float]:
    status, exposition = await get(endpoint, "/metrics")
    return metrics.load_seconds(exposition.decode()) if status == OK else {}


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians of one server and one state of the cache; how far it is behind llama-server."""

    server: str
    cache: Cache
    answer_seconds: float
    ready_seconds: float
    first_token_seconds: float | None
    second_token_seconds: float | None
    behind_seconds: float | None
    ratio: float | None
    stages: dict[str, float]


def summary(starts: Sequence[Start]) -> list[Summary]:
    names = dict.fromkeys(each.server.name for each in starts)
    groups = (
        [each for each in starts if each.cache == cache and each.server.name == name]
        for cache in CACHES
        for name in names
    )
    return [_summary(group, _baseline(starts, group[0].cache)) for group in groups if group]


def _baseline(starts: Sequence[Start], cache: Cache) -> float | None:
    """llama-server's; of several, the first one's."""
    theirs = [each for each in starts if each.server.kind == "llama-server"]
    return _median(
        each.ready_seconds
        for each in theirs
        if each.cache == cache and each.server.name == theirs[0].server.name
    )


def _summary(group: Sequence[Start], baseline: float | None) -> Summary:
    ready_seconds = median(each.ready_seconds for each in group)
    return Summary(
        server=group[0].server.name,
        cache=group[0].cache,
        answer_seconds=median(each.answer_seconds for each in group),
        ready_seconds=ready_seconds,
        first_token_seconds=_median(each.first_token_seconds for each in group),
        second_token_seconds=_median(each.second_token_seconds for each in group),
        behind_seconds=ready_seconds - baseline if baseline else None,
        ratio=ready_seconds / baseline if baseline else None,
        stages={stage: median(each.stages[stage] for each in group) for stage in group[0].stages},
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def record(starts: Sequence[Start]) -> dict[str, Any]:
    runs = [asdict(each) | {"server": each.server.name} for each in starts]
    return {"medians": [asdict(each) for each in summary(starts)], "runs": runs}


def table(starts: Sequence[Start]) -> str:
    found = summary(starts)
    blocks = [
        f"## Start to ready\n\n{LEGEND}",
        markdown.table(COLUMNS, [_cells(each) for each in found]),
        *_doubts(starts),
    ]
    if rows := [_stage_cells(each) for each in found if each.stages]:
        blocks += ["Ours, by stage:", markdown.table(("file", *STAGES), rows)]
    return "\n\n".join(blocks)


def _cells(each: Summary) -> tuple[str, ...]:
    return (
        each.server,
        each.cache,
        number(each.answer_seconds),
        number(each.ready_seconds),
        number(each.first_token_seconds, digits=3),
        number(each.second_token_seconds, digits=3),
        number(each.behind_seconds),
        number(each.ratio),
    )


def _stage_cells(each: Summary) -> tuple[str, ...]:
    return (each.cache, *(number(each.stages.get(stage)) for stage in STAGES))


def _doubts(starts: Sequence[Start]) -> list[str]:
    """What a reader must know before believing a row."""
    count = sum(not each.is_what_it_says for each in starts)
    reason = "it is mapped by another program, or this system does not tell"
    return [f"- {count} of {len(starts)} starts: the file was not so ({reason})"] if count else []
