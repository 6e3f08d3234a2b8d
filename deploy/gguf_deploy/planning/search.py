"""The search: which offer carries the model, and what has to give where none does. Pure.

In this order: everything on the GPUs; experts on the CPU, of as few layers as possible; fewer
layers on the GPUs; a shorter context. Of several models that would do (quantizations), the best
that fits wins before anything else gives. Nothing gives silently.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from gguf_deploy.planning.ask import Ask, Offer
from gguf_deploy.planning.fitting import gpu_needs, host_need
from gguf_deploy.planning.speed import speed_bounds
from gguf_server.knobs import Knobs
from gguf_server.models.blueprint import Blueprint
from gguf_server.models.gguf.description import Description
from gguf_server.models.measurement import Measurement
from gguf_server.models.placement import Need, Speed
from gguf_server.models.sizes import human_bytes

# How llama.cpp counts this model with these options, on so many equal GPUs. Their size does not
# matter to it as long as it is the same for all.
Measure = Callable[[Blueprint, Knobs, int], Measurement]

_LEAST_CONTEXT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Trial:
    """One model on one offer. ``changes`` are what had to give."""

    blueprint: Blueprint
    offer: Offer
    knobs: Knobs
    measurement: Measurement
    gpus: tuple[Need, ...]
    host: Need
    changes: tuple[str, ...] = ()
    offloaded_bytes: int = 0

    @property
    def fits(self) -> bool:
        return all(need.fits for need in (*self.gpus, self.host))

    @property
    def speed(self) -> Speed | None:
        if self.offer.gpu is None or not self.measurement.generates:
            return None
        bandwidth = self.offer.gpu.bandwidth_bytes_per_second
        description = self.blueprint.description
        return speed_bounds(
            description,
            self.knobs.slots,
            bandwidth,
            self.offloaded_bytes,
            only_experts=self.knobs.n_cpu_moe > 0,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """``trials`` has one for each offer; ``chosen`` is one of them, None where nothing fits."""

    chosen: Trial | None
    trials: tuple[Trial, ...]


Stage = Callable[[Trial], Trial | None]


def search(blueprints: Iterable[Blueprint], ask: Ask, measure: Measure) -> Found:
    """``blueprints`` are asked for one by one, best first, and no more of them than needed."""
    models = _Remembered(blueprints)
    stages: list[Stage] = [
        lambda whole: whole,
        partial(_with_experts_on_cpu, ask, measure),
        partial(_with_fewer_layers, ask, measure),
        partial(_with_shorter_context, ask, measure),
    ]
    first: Found | None = None
    for stage in stages:
        for blueprint in models:
            found = _tried(blueprint, ask, measure, stage)
            first = first or found
            if found.chosen is not None:
                return _told(found, models.first)
    assert first is not None
    return first


def _tried(blueprint: Blueprint, ask: Ask, measure: Measure, stage: Stage) -> Found:
    whole = [_trial(blueprint, offer, ask.knobs, ask, measure) for offer in ask.offers]
    trials = [stage(trial) or trial for trial in whole]
    fitting = [trial for trial in trials if trial.fits]
    return Found(_best(fitting, ask) if fitting else None, tuple(trials))


def _trial(blueprint: Blueprint, offer: Offer, knobs: Knobs, ask: Ask, measure: Measure) -> Trial:
    measurement = measure(blueprint, knobs, offer.count)
    return Trial(
        blueprint=blueprint,
        offer=offer,
        knobs=knobs,
        measurement=measurement,
        gpus=gpu_needs(measurement, offer, blueprint.description),
        host=host_need(measurement, ask.host_bytes),
    )


def _told(found: Found, first: Blueprint) -> Found:
    """A lesser quantization than the first is a change, too."""
    chosen = found.chosen
    assert chosen is not None
    if chosen.blueprint is first:
        return found
    change = f"{chosen.blueprint.label} instead of {first.label}, which does not fit"
    told = replace(chosen, changes=(change, *chosen.changes))
    return Found(told, tuple(told if each is chosen else each for each in found.trials))


def _best(fitting: Sequence[Trial], ask: Ask) -> Trial:
    """Where something has to give, the one where least does; then the preferred one."""

    def preferred(trial: Trial) -> tuple[float, ...]:
        match ask.prefer:
            case "smallest":
                return trial.offer.size
            case "cost":
                return trial.offer.cost
            case "speed":
                speed = trial.speed
                rate = speed.all_slots_tokens_per_second if speed else 0.0
                return (-rate, *trial.offer.cost)

    return min(fitting, key=lambda trial: (_given(trial), preferred(trial)))


def _given(trial: Trial) -> tuple[int, int]:
    """How much of the weights left the GPUs, how much context is missing."""
    return (trial.offloaded_bytes, -trial.measurement.context_tokens)


# --- what may give -----------------------------------------------------------------------------


def _with_experts_on_cpu(ask: Ask, measure: Measure, whole: Trial) -> Trial | None:
    """The experts of as few layers as will do."""
    num_layers = _num_layers(whole)
    has_experts = whole.blueprint.description.num_experts > 0
    if not (ask.allow_cpu_experts and has_experts and whole.gpus):
        return None

    def with_layers(count: int) -> Trial:
        split = _balanced(whole.blueprint.description, num_layers, count, len(whole.gpus))
        knobs = msgspec.structs.replace(whole.knobs, n_cpu_moe=count, tensor_split=split)
        return _again(whole, knobs, ask, measure)

    found = _least(1, num_layers, with_layers)
    if found is None:
        return None
    size = human_bytes(found.offloaded_bytes)
    count = found.knobs.n_cpu_moe
    change = f"experts of {count} of {num_layers} layers on the CPU: {size} in host memory"
    return replace(found, changes=(change,))


def _balanced(
    description: Description, num_layers: int, num_light: int, num_gpus: int
) -> tuple[float, ...]:
    """How many layers each GPU gets, so that all hold about the same: the first layers, whose
    experts are on the CPU, weigh less. llama.cpp counts the output as one more layer.
    """
    if num_gpus <= 1:
        return ()
    light = (description.size_bytes - description.expert_bytes) / num_layers
    heavy = light + description.expert_bytes / num_layers
    weights = [light] * num_light + [heavy] * (num_layers - num_light) + [light]
    share, total = sum(weights) / num_gpus, 0.0
    shares = [0.0] * num_gpus
    for weight in weights:
        shares[min(num_gpus - 1, int((total + weight / 2) / share))] += 1
        total += weight
    return tuple(shares)


def _with_fewer_layers(ask: Ask, measure: Measure, whole: Trial) -> Trial | None:
    """As many layers on the GPUs as will fit, at least one."""
    num_layers = _num_layers(whole)
    if not whole.gpus:
        return None

    def without(count: int) -> Trial:
        knobs = msgspec.structs.replace(whole.knobs, n_gpu_layers=num_layers + 1 - count)
        return _again(whole, knobs, ask, measure)

    found = _least(1, num_layers, without)
    if found is None:
        return None
    count = num_layers + 1 - found.knobs.n_gpu_layers
    size = human_bytes(found.offloaded_bytes)
    change = f"{count} of {num_layers} layers on the CPU: {size} in host memory, and slow"
    return replace(found, changes=(change,))


def _with_shorter_context(ask: Ask, measure: Measure, whole: Trial) -> Trial | None:
    """Half, a quarter, ... of it, with everything on the GPUs."""
    wanted = whole.measurement.context_tokens
    tokens = wanted // 2
    while tokens >= _LEAST_CONTEXT_TOKENS:
        knobs = msgspec.structs.replace(whole.knobs, context_tokens=tokens)
        trial = _again(whole, knobs, ask, measure)
        if trial.fits:
            return replace(trial, changes=(f"{tokens} tokens of context instead of {wanted}",))
        tokens //= 2
    return None


def _again(whole: Trial, knobs: Knobs, ask: Ask, measure: Measure) -> Trial:
    """The same with other options, beside what is on the host anyway."""
    trial = _trial(whole.blueprint, whole.offer, knobs, ask, measure)
    more = _host_weights(trial.measurement) - _host_weights(whole.measurement)
    return replace(trial, offloaded_bytes=max(0, more))


def _num_layers(trial: Trial) -> int:
    """Of the file, those for predicting several tokens included: llama.cpp places them, too."""
    return max(trial.measurement.num_layers, trial.blueprint.description.num_layers)


def _host_weights(measurement: Measurement) -> int:
    return sum(use.weights_bytes for use in measurement.devices if use.is_host)


def _least(low: int, high: int, attempt: Callable[[int], Trial]) -> Trial | None:
    """By bisection, the least count whose GPUs have room; None where even the most has not, or
    where the host has not.
    """
    best: Trial | None = None
    while low <= high:
        middle = (low + high) // 2
        trial = attempt(middle)
        if all(need.fits for need in trial.gpus):
            best, high = trial, middle - 1
        else:
            low = middle + 1
    return best if best is not None and best.fits else None


class _Remembered:
    """An iterator that can be walked again; what has not been walked is not made."""

    def __init__(self, items: Iterable[Blueprint]) -> None:
        self._rest = iter(items)
        self._walked: list[Blueprint] = []

    @property
    def first(self) -> Blueprint:
        return self._walked[0]

    def __iter__(self) -> Iterator[Blueprint]:
        yield from self._walked
        for item in self._rest:
            self._walked.append(item)
            yield item
