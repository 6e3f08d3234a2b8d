"""``gguf-deploy plan`` of a model that has no GGUF file: for vLLM, by an estimate."""

import shlex
import sys
from collections.abc import Sequence

from gguf_deploy.formats import vllm
from gguf_deploy.planning.ask import Ask
from gguf_deploy.planning.offers import alternatives
from gguf_deploy.planning.startup import Storage, startup
from gguf_deploy.planning.vllm import ESTIMATE, VllmPlan, VllmTrial, best, trials, vllm_plan
from gguf_deploy.settings import PlanSettings
from gguf_server.errors import DoesNotFit, SettingsError
from gguf_server.models.safetensors import Safetensors
from gguf_server.models.sizes import gibibytes
from gguf_server.tables import show

_ANOTHER = "take a repository whose name ends in -GGUF"


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
        sys.stdout.write(vllm.as_json(plan))
    elif settings.format == "helm":
        rivals = [each.offer.gpu for each in found if each.offer.count == chosen.offer.count]
        able = alternatives([gpu for gpu in rivals if gpu], chosen.offer.memory_bytes)
        sys.stdout.write(vllm.helm_values(plan, able, command))
    elif settings.format == "compose":
        sys.stdout.write(vllm.compose_override(plan, command))
    else:
        show(vllm.lines(plan, model, found, chosen))


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
