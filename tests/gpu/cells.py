"""What is measured, in pieces that stand alone: each has a name, a model and a server's life.

A piece that was measured is not measured again, so a check goes on where its last call ended.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gguf_deploy.planning.measuring import Measurer
from gguf_server.errors import MeasurementFailed
from gguf_server.knobs import Knobs
from gguf_server.models.measurement import Question, SimulatedGpu, Topology
from tests.gpu.card import Card
from tests.gpu.child import ChildFailed, ask
from tests.gpu.engine import LimitQuestion, engine_config, options
from tests.gpu.models import Load, Model
from tests.gpu.plan import plan
from tests.gpu.serving import forget, serving
from tests.gpu.work import GREEDY, USUAL, work

STAGES = ("models", "plan", "parts", "start", "speed", "limit", "experts")
_MOST_START_SECONDS = 300.0
# Of the numbers of streams: experts on a CPU are slow.
_NUM_EXPERT_STREAMS = 2
_EXPERT_OUTPUT_TOKENS = 32

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the check runs, and with what."""

    card: Card
    load: Load
    directory: Path
    vocabulary: Path

    async def file(self, model: Model) -> Path:
        """The model's; written where it is not there, by a process that can be stopped."""
        path = self.directory / f"{model.name}.gguf"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            await ask("tests.gpu.weights", model.name, str(path), str(self.vocabulary))
        return path


@dataclass(frozen=True, slots=True)
class Cell:
    """``seconds`` is what it takes at least on a fast machine: with less left it is no use."""

    stage: str
    name: str
    seconds: float
    measure: Callable[[], Awaitable[Result]]

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.name}"


def cells(place: Place, models: Sequence[Model]) -> list[Cell]:
    """By stage, the model that matters most first."""
    found = [
        Cell(stage, model.name, seconds, partial(take, place, model))
        for stage, seconds, take in (
            ("models", 20.0, _written),
            ("plan", 5.0, _planned),
            ("parts", 20.0, _parts),
            ("start", 30.0, _starts),
            ("speed", 45.0, _speed),
            ("limit", 30.0, _limit),
        )
        for model in models
    ]
    return found + [
        Cell(
            "experts",
            f"{model.name}-{count}",
            40.0,
            partial(_experts, place, model, count),
        )
        for model in models
        for count in model.experts_on_cpu
    ]


async def _written(place: Place, model: Model) -> Result:
    path = await place.file(model)
    return {"size_bytes": path.stat().st_size}


async def _planned(place: Place, model: Model) -> Result:
    placement = await plan(await place.file(model), place.card, place.load)
    built: Result = msgspec.to_builtins(placement)
    return built


async def _parts(place: Place, model: Model) -> Result:
    path = await place.file(model)
    config = msgspec.structs.replace(engine_config(path, place.card, place.load), load_mode="none")
    answer = await ask("tests.gpu.parts", question=msgspec.json.encode(config))
    found: Result = msgspec.json.decode(answer)
    return found


async def _starts(place: Place, model: Model) -> Result:
    """Cold: from the disk, as far as the kernel lets go of a file. Then from its cache."""
    path = await place.file(model)
    forget(path)
    return {"cold": await _start(place, path), "warm": await _start(place, path)}


async def _start(place: Place, path: Path) -> Result:
    started = options(place.load)
    async with serving(path, place.card, started, _MOST_START_SECONDS) as server:
        return {
            "ready_seconds": server.ready_seconds,
            "load_seconds": await server.load_seconds(),
            "taken_bytes": server.load.peak_bytes - server.before_bytes,
            "watch": server.load.summary(),
        }


async def _speed(place: Place, model: Model) -> Result:
    path = await place.file(model)
    started = options(place.load)
    with_plan = await _plan_file(place, path)
    async with serving(path, place.card, started | with_plan, _MOST_START_SECONDS) as server:
        return await work(server, place.load, (GREEDY, USUAL))


async def _plan_file(place: Place, path: Path) -> dict[str, object]:
    """The server says itself where it is not as planned. Nothing where there is no plan."""
    with suppress(ChildFailed):
        placement = await plan(path, place.card, place.load)
        target = path.with_suffix(".plan.json")
        target.write_bytes(msgspec.json.encode(placement))
        return {"plan": target}
    return {}


async def _limit(place: Place, model: Model) -> Result:
    path, load = await place.file(model), place.load
    question = LimitQuestion(
        engine_config(path, place.card, load),
        load.streams,
        load.num_prompt_tokens,
        load.num_output_tokens,
    )
    answer = await ask("tests.gpu.limit", question=msgspec.json.encode(question))
    return {"tokens_per_second": msgspec.json.decode(answer)}


async def _experts(place: Place, model: Model, count: int) -> Result:
    path = await place.file(model)
    load = replace(
        place.load,
        streams=place.load.streams[:_NUM_EXPERT_STREAMS],
        num_output_tokens=min(_EXPERT_OUTPUT_TOKENS, place.load.num_output_tokens),
    )
    started = options(place.load) | {"n-cpu-moe": count}
    async with serving(path, place.card, started, _MOST_START_SECONDS) as server:
        found = await work(server, load, (GREEDY,))
    return found | {"counted_bytes": _counted_bytes(place, path, count)}


def _counted_bytes(place: Place, path: Path, count: int) -> int | None:
    """What the planner's process counts for the card, or for the host where there is none."""
    total = place.card.memory_bytes
    gpus = (SimulatedGpu("CUDA0", total, total),) if place.card.device == "gpu" else ()
    knobs = Knobs(
        context_tokens=place.load.num_context_tokens,
        slots=place.load.num_slots,
        n_cpu_moe=count,
    )
    try:
        with Measurer() as measurer:
            found = measurer.measure(Topology(gpus), Question(str(path), knobs))
    except MeasurementFailed:  # told by the stage "plan"
        return None
    return sum(use.num_bytes for use in found.devices if use.is_host != bool(gpus))
