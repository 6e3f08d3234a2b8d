"""A plan as a person reads it: what it is about, the offers with the reason, the chosen one."""

from collections.abc import Sequence

from gguf_deploy.cluster.node import Node
from gguf_deploy.formats.environment import command
from gguf_deploy.planning.search import Found, Trial
from gguf_server.models.placement import Need, Placement, Startup
from gguf_server.models.sizes import gibibytes, human_count, human_seconds
from gguf_server.tables import table

_GIB = 1 << 30
_MILLION = 1_000_000
_FETCH = "fetch"
_WHOLE_FROM = 10  # tokens a second
_HEADS = ("", "OFFER", "NEEDS", "OF", "TOKENS/S AT MOST", "$/HOUR", "$/MILLION TOKENS", "FITS")


def lines(found: Found, placement: Placement | None, nodes: Sequence[Node] = ()) -> list[str]:
    """All of it; without a placement nothing fits. ``nodes`` are those that can run it."""
    shown = [*_subject(found.chosen or found.trials[0]), "", *_offers(found)]
    if placement is not None:
        shown += ["", *_chosen(placement), *map(_node, nodes), *_unpriced(found)]
    return shown


def _offers(found: Found) -> list[str]:
    """One line for each kind of GPU: the fewest that fit, else the most that there are."""
    rows = [_row(trial, is_chosen=trial is found.chosen) for trial in _shortened(found)]
    return table(_HEADS, rows)


def lacking_bytes(trial: Trial) -> int:
    """On the device that lacks most; negative where all have room."""
    return max(_lacking_bytes(need) for need in (*trial.gpus, trial.host))


def shortage(trial: Trial) -> str:
    """Why it does not fit: ``CUDA0 needs 23.4 GiB, 0.9 GiB more than it has``."""
    worst = max((*trial.gpus, trial.host), key=_lacking_bytes)
    lacking = gibibytes(_lacking_bytes(worst))
    return f"{worst.name} needs {gibibytes(worst.num_bytes)}, {lacking} more than it has"


def _lacking_bytes(need: Need) -> int:
    return need.num_bytes - need.there_bytes


def price_per_million_tokens(price_per_hour: float, tokens_per_second: float) -> float:
    """In US dollars, when it is busy all the time."""
    return price_per_hour / 3600 / tokens_per_second * _MILLION


def _subject(trial: Trial) -> list[str]:
    blueprint, about = trial.blueprint, trial.blueprint.description
    params = f"{human_count(about.num_params)} parameters"
    if about.num_active_params != about.num_params:
        params += f" ({human_count(about.num_active_params)} for each token)"
    knobs, measurement = trial.knobs, trial.measurement
    return [
        blueprint.reference,
        blueprint.reason,
        f"{about.architecture}, {params}, {measurement.num_layers} layers",
        (
            f"{knobs.slots} slots of {measurement.context_tokens} tokens,"
            f" cache {knobs.cache_type_k}; counted by llama.cpp {measurement.llama_cpp}"
        ),
    ]


def _shortened(found: Found) -> list[Trial]:
    by_gpu: dict[str, list[Trial]] = {}
    for trial in found.trials:
        by_gpu.setdefault(trial.offer.gpu.name if trial.offer.gpu else "", []).append(trial)
    shown = []
    for trials in by_gpu.values():
        if found.chosen in trials:
            shown.append(found.chosen)
        else:
            ordered = sorted(trials, key=lambda trial: trial.offer.count)
            shown.append(next((trial for trial in ordered if trial.fits), ordered[-1]))
    return shown


def _row(trial: Trial, *, is_chosen: bool) -> tuple[str, ...]:
    largest = max(trial.gpus or (trial.host,), key=lambda need: need.num_bytes)
    speed, price = trial.speed, trial.offer.price_per_hour
    bounds, per_million = "", ""
    if trial.fits and speed is not None:
        one, every = speed.one_stream_tokens_per_second, speed.all_slots_tokens_per_second
        bounds = f"{_rate(one)}, {_rate(every)} by {trial.knobs.slots}"
        if price is not None:
            per_million = f"{price_per_million_tokens(price, every):.2f}"
    fits = "; ".join(("yes", *trial.changes)) if trial.fits else f"no: {shortage(trial)}"
    return (
        "*" if is_chosen else "",
        trial.offer.name,
        gibibytes(largest.num_bytes),
        gibibytes(largest.there_bytes),
        bounds,
        "" if price is None else f"{price:.2f}",
        per_million,
        fits,
    )


def _rate(tokens_per_second: float) -> str:
    return f"{tokens_per_second:.{0 if tokens_per_second >= _WHOLE_FROM else 1}f}"


def _chosen(placement: Placement) -> list[str]:
    gpu = placement.gpu
    name = f"{gpu.count} x {gpu.name}" if gpu else "CPU"
    return [
        f"chosen: {name}",
        *(f"but: {change}" for change in placement.changes),
        *(_sum(need) for need in (*placement.devices, placement.host)),
        _start(placement.startup),
        f"run it: {command(placement)}",
    ]


def _unpriced(found: Found) -> list[str]:
    names = [
        trial.offer.gpu.name
        for trial in _shortened(found)
        if trial.fits and trial.offer.gpu and trial.offer.price_per_hour is None
    ]
    return [f"no price is known of {', '.join(names)}: give yours with --prices"] if names else []


def _node(node: Node) -> str:
    taints = f", which needs a toleration of {', '.join(node.taints)}" if node.taints else ""
    return f"can run on node {node.name}{taints}"


def _sum(need: Need) -> str:
    """``CUDA0: weights 18.2 + KV cache 0.9 + compute 0.2 = 19.3 of 45.0 GiB``"""
    parts = " + ".join(f"{part.name} {part.num_bytes / _GIB:.1f}" for part in need.parts)
    return f"{need.name}: {parts} = {need.num_bytes / _GIB:.1f} of {gibibytes(need.there_bytes)}"


def _start(startup: Startup) -> str:
    """``fetched in about 4 min, then ready in 29 s from nvme, 2 GB/s (process 6 s, ...)``"""
    fetched = [stage for stage in startup.stages if stage.name == _FETCH]
    stages = [stage for stage in startup.stages if stage.name != _FETCH]
    parts = ", ".join(f"{stage.name} {human_seconds(stage.seconds)}" for stage in stages)
    before = "".join(f"fetched in about {human_seconds(stage.seconds)}, then " for stage in fetched)
    ready = human_seconds(startup.expected_seconds)
    return f"{before}ready in {ready} from {startup.storage} ({parts})"
