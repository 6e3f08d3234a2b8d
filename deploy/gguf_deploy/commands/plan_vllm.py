"""``gguf-deploy plan`` of a model that has no GGUF file: for vLLM, by an estimate."""

import shlex
import sys
from collections.abc import Sequence

from gguf_deploy.ask import Ask
from gguf_deploy.offers import alternatives
from gguf_deploy.settings import PlanSettings
from gguf_deploy.startup import Storage, startup
from gguf_deploy.vllm_plan import (
    ESTIMATE,
    VllmPlan,
    VllmTrial,
    as_json,
    best,
    compose_override,
    helm_values,
    trials,
    vllm_plan,
)
from gguf_server.errors import DoesNotFit, SettingsError
from gguf_server.models.safetensors import Safetensors
from gguf_server.models.sizes import gibibytes, human_bytes
from gguf_server.tables import show, table

_ANOTHER = "take a repository whose name ends in -GGUF"
_HEADS = ("", "OFFER", "NEEDS", "OF", "$/HOUR", "FITS")


def plan_vllm(model: Safetensors, ask: Ask, storage: Storage, settings: PlanSettings) -> None:
    """Raises ``DoesNotFit``, and ``SettingsError`` for a format that knows no vLLM."""
    if settings.format == "modal":
        msg = (
            f"{model.name} has no GGUF file, and the Modal adapter serves no other; plan --format"
            f" helm or compose, or {_ANOTHER}"
        )
        raise SettingsError(msg)
    found = trials(model, ask)
    chosen = best(found, ask.prefer)
    if chosen is None:
        raise DoesNotFit(_refusal(model, found))
    budget = startup(model.size_bytes, storage, on_gpu=True, num_gpus=chosen.offer.count)
    _print(vllm_plan(model, chosen, ask, budget), model, found, chosen, settings)


def _print(
    plan: VllmPlan,
    model: Safetensors,
    found: Sequence[VllmTrial],
    chosen: VllmTrial,
    settings: PlanSettings,
) -> None:
    command = shlex.join(["gguf-deploy", *sys.argv[1:]])
    if settings.json or settings.format == "json":
        sys.stdout.write(as_json(plan))
    elif settings.format == "helm":
        rivals = [each.offer.gpu for each in found if each.offer.count == chosen.offer.count]
        able = alternatives([gpu for gpu in rivals if gpu], chosen.offer.memory_bytes)
        sys.stdout.write(helm_values(plan, able, command))
    elif settings.format == "compose":
        sys.stdout.write(compose_override(plan, command))
    else:
        show(lines(plan, model, found, chosen))


def lines(
    plan: VllmPlan, model: Safetensors, found: Sequence[VllmTrial], chosen: VllmTrial
) -> list[str]:
    """For people."""
    files = f"{model.num_files} files" if model.num_files > 1 else "one file"
    return [
        model.reference,
        f"no GGUF file, {human_bytes(model.size_bytes)} of safetensors in {files}: for vLLM",
        plan.estimate,
        "",
        *table(_HEADS, [_row(trial, is_chosen=trial is chosen) for trial in _shortened(found)]),
        "",
        f"chosen: {chosen.offer.name}",
        "run it: --format helm or --format compose writes what to run",
    ]


def _shortened(found: Sequence[VllmTrial]) -> list[VllmTrial]:
    """One of each kind: the fewest that fit, else the most that there are."""
    by_gpu: dict[str, VllmTrial] = {}
    for trial in sorted(found, key=lambda trial: (not trial.fits, trial.offer.count)):
        assert trial.offer.gpu is not None
        there = by_gpu.get(trial.offer.gpu.name)
        if there is None or not there.fits:
            by_gpu[trial.offer.gpu.name] = trial
    return sorted(by_gpu.values(), key=lambda trial: trial.offer.memory_bytes)


def _row(trial: VllmTrial, *, is_chosen: bool) -> tuple[str, ...]:
    price = trial.offer.price_per_hour
    return (
        "*" if is_chosen else "",
        trial.offer.name,
        gibibytes(trial.needed_bytes),
        gibibytes(trial.offer.memory_bytes),
        "" if price is None else f"{price:.2f}",
        "yes" if trial.fits else "no",
    )


def _refusal(model: Safetensors, found: Sequence[VllmTrial]) -> str:
    if not found:
        return (
            f"{model.name} has no GGUF file, and vLLM wants a GPU that computes bfloat16: no CPU,"
            f" no T4; leave --gpu out, or {_ANOTHER}"
        )
    nearest = max(found, key=lambda trial: trial.offer.memory_bytes - trial.needed_bytes)
    there, needed = gibibytes(nearest.offer.memory_bytes), gibibytes(nearest.needed_bytes)
    return (
        f"{model.name} fits nowhere: {nearest.offer.name} has {there} each, and {needed} are needed"
        f" ({ESTIMATE}); {_ANOTHER}"
    )
