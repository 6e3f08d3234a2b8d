"""A ``VllmPlan`` for people, for scripts, and for what carries it out."""

from collections.abc import Sequence

import msgspec

from gguf_deploy.formats.compose import how_to_start, reservation
from gguf_deploy.formats.helm import budgets, how_to_install, node_labels
from gguf_deploy.formats.plan_file import yaml_file
from gguf_deploy.hardware import Gpu
from gguf_deploy.planning.vllm import VllmPlan, VllmTrial
from gguf_server.models.safetensors import Safetensors
from gguf_server.models.sizes import gibibytes, human_bytes
from gguf_server.tables import table

_HEADS = ("", "OFFER", "NEEDS", "OF", "$/HOUR", "FITS")


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


def as_json(plan: VllmPlan) -> str:
    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"


def helm_values(plan: VllmPlan, gpus: Sequence[Gpu], command: str) -> str:
    """``gpus`` are all kinds that would do."""
    startup = plan.startup
    how = how_to_install(startup.helm_timeout_seconds)
    document: dict[str, object] = {
        "engine": plan.engine,
        "model": {
            "name": plan.model.name,
            "revision": plan.model.commit,
            "sizeBytes": plan.model.size_bytes,
        },
        "server": {"extraArgs": list(plan.arguments)},
        "gpu": {
            "count": plan.gpu.count,
            "name": plan.gpu.name,
            "memoryBytes": plan.needed_bytes,
            "nodeLabels": node_labels(gpus),
        },
        **budgets(startup),
    }
    return yaml_file([f"Made by: {command}", *_about(plan), *how], document)


def compose_override(plan: VllmPlan, command: str) -> str:
    """For the service ``vllm``; the word list of its arguments is split by the shell there."""
    arguments = [f"--revision={plan.model.commit}", *plan.arguments]
    if plan.gpu.count > 1:
        arguments.append(f"--tensor-parallel-size={plan.gpu.count}")
    service: dict[str, object] = {
        "environment": {"VLLM_MODEL": plan.model.name, "VLLM_ARGS": " ".join(arguments)},
        "healthcheck": {"start_period": f"{plan.startup.compose_start_period_seconds}s"},
        "deploy": reservation(plan.gpu.count),
    }
    how = how_to_start("compose.yaml", "up vllm")
    document: dict[str, object] = {"services": {"vllm": service}}
    return yaml_file([f"Made by: {command}", *_about(plan), *how], document)


def _about(plan: VllmPlan) -> list[str]:
    model, gpu = plan.model, plan.gpu
    return [
        f"Model: {model.reference} ({human_bytes(model.size_bytes)} of safetensors), by vLLM",
        (
            f"For {gpu.count} x {gpu.name}; of each {gibibytes(plan.needed_bytes)} of"
            f" {gibibytes(gpu.memory_bytes)}: {plan.estimate}"
        ),
    ]
