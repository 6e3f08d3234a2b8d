"""``gguf-deploy plan``: where a model can run, and everything that follows from it."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from gguf_deploy.cluster.node import Node
from gguf_deploy.commands.plan_vllm import plan_vllm
from gguf_deploy.formats import compose, helm, modal, report
from gguf_deploy.hardware import GPUS, Gpu, load_prices, priced
from gguf_deploy.planning.ask import Ask
from gguf_deploy.planning.measuring import Measurer
from gguf_deploy.planning.offers import alternatives, can_run, catalogue_offers, cluster_offers
from gguf_deploy.planning.placing import placed_knobs, placement
from gguf_deploy.planning.search import Found, Measure, Trial, search
from gguf_deploy.planning.startup import Storage, parse_storage, startup
from gguf_deploy.settings import PlanSettings
from gguf_server.errors import DoesNotFit, MeasurementFailed, NoModelFile
from gguf_server.knobs import Knobs
from gguf_server.models.blueprint import Blueprint, blueprints
from gguf_server.models.measurement import Measurement, Question, SimulatedGpu, Topology
from gguf_server.models.placement import Placement, dumps
from gguf_server.models.reference import Reference
from gguf_server.models.safetensors import Safetensors, safetensors
from gguf_server.models.store.store import Store
from gguf_server.settings.models import wanted
from gguf_server.tables import show

_SIMULATED_BYTES = 1 << 40  # of each GPU: what is needed does not depend on it
_MAX_GPUS = 8


def plan(settings: PlanSettings) -> None:
    """What has a GGUF file is llama.cpp's, other models are vLLM's.

    Raises ``DoesNotFit`` where nothing does; the offers are shown all the same.
    """
    storage = parse_storage(settings.storage)
    there = _nodes(settings)
    ask = _ask(settings, there)
    try:
        _plan_gguf(settings, ask, storage, there)
    except NoModelFile:
        other = _without_gguf(settings)
        if other is None:
            raise
        plan_vllm(other, ask, storage, settings)


def _plan_gguf(settings: PlanSettings, ask: Ask, storage: Storage, there: Sequence[Node]) -> None:
    with _models(settings) as models, Measurer() as measurer:
        found = search(models, ask, _measure(measurer))
        if found.chosen is None:
            raise _refusal(found, settings)
        trial = found.chosen
        _confirm(trial, placed_knobs(trial), measurer)
    budget = startup(
        trial.blueprint.size_bytes,
        storage,
        on_gpu=trial.offer.gpu is not None and not trial.offloaded_bytes,
        num_gpus=trial.offer.count,
        fetch=bool(trial.blueprint.commit),
        fits_in_host_memory=trial.blueprint.size_bytes <= ask.host_bytes,
    )
    able = [node for node in there if can_run(node, trial.offer, trial.host.num_bytes)]
    _print(found, placement(trial, budget), able, settings)


def _without_gguf(settings: PlanSettings) -> Safetensors | None:
    """Who names a quantization or a file of GGUF wants no other model."""
    source = settings.source
    if isinstance(source, Path) or source.selector or settings.quant or settings.offline:
        return None
    return safetensors(source)


# --- what is asked -----------------------------------------------------------------------------


def _nodes(settings: PlanSettings) -> Sequence[Node]:
    """Of the cluster, if that is what is planned for."""
    if not settings.cluster:
        return ()
    # The client of Kubernetes takes 0.2 s to import, and most plans ask no cluster.
    from gguf_deploy.cluster.inventory import FREE_IS_UNKNOWN, nodes  # noqa: PLC0415

    found = nodes(settings.kube_context, kubeconfig=settings.kubeconfig)
    if any(node.free is None for node in found):
        print(f"gguf-deploy: {FREE_IS_UNKNOWN}", file=sys.stderr)
    return found


def _ask(settings: PlanSettings, there: Sequence[Node]) -> Ask:
    gpus = _priced(settings)
    if settings.cluster:
        offers = cluster_offers(gpus, there, settings.max_gpus)
    else:
        offers = catalogue_offers(gpus, settings.gpu, settings.max_gpus)
    if settings.format == "modal":
        offers = tuple(each for each in offers if each.is_on_modal)
    return Ask(
        offers=offers,
        knobs=settings.knobs,
        host_bytes=_host_bytes(settings, there),
        prefer=settings.prefer,  # type: ignore[arg-type]  # checked where it was read
        allow_cpu_experts=settings.allow_cpu_experts,
    )


def _host_bytes(settings: PlanSettings, there: Sequence[Node]) -> int:
    """What may be used, and on a cluster is there."""
    most = max((node.host_bytes for node in there if node.gpu), default=settings.host_memory)
    return min(settings.host_memory, most)


def _priced(settings: PlanSettings) -> tuple[Gpu, ...]:
    return priced(load_prices(settings.prices_path)) if settings.prices_path else GPUS


def _models(settings: PlanSettings) -> AbstractContextManager[Iterator[Blueprint]]:
    source = settings.source
    takes_any = settings.takes_any_quantization
    chosen = replace(settings, quant=()) if takes_any else settings
    reference = source if isinstance(source, Reference) else Reference("")
    return blueprints(
        source,
        wanted(chosen, reference),
        Store(settings.models_path),
        offline=settings.offline,
        every=takes_any or len(settings.quant) > 1,
    )


# --- what llama.cpp says -----------------------------------------------------------------------


def _measure(measurer: Measurer) -> Measure:
    topology = _topology(_MAX_GPUS)  # one process for all counts: it takes half a second to start

    def measure(blueprint: Blueprint, knobs: Knobs, count: int) -> Measurement:
        return measurer.measure(topology, Question(str(blueprint.path), knobs, count))

    return measure


def _topology(count: int, memory_bytes: int = _SIMULATED_BYTES) -> Topology:
    return Topology((SimulatedGpu("simulated", memory_bytes, memory_bytes),) * count)


def _confirm(trial: Trial, knobs: Knobs, measurer: Measurer) -> None:
    """Once more, with GPUs of the very size that was chosen and the very options."""
    topology = _topology(trial.offer.count, trial.offer.memory_bytes)
    again = measurer.measure(topology, Question(str(trial.blueprint.path), knobs))
    if again.devices != trial.measurement.devices:
        msg = f"llama.cpp counts otherwise on {trial.offer.name} than on larger GPUs; report this"
        raise MeasurementFailed(msg)


# --- what is said ------------------------------------------------------------------------------


def _refusal(found: Found, settings: PlanSettings) -> DoesNotFit:
    if settings.format == "table" and not settings.json:
        show(report.lines(found, None))
    nearest = min(found.trials, key=report.lacking_bytes)
    hints = ["a smaller --context or --parallel"]
    if not settings.takes_any_quantization and nearest.blueprint.commit:
        hints.append("--quant auto")
    if not nearest.host.fits:
        hints.append("more --host-memory")
    if not settings.allow_cpu_experts and nearest.blueprint.description.num_experts:
        hints.append("--allow-cpu-experts")
    return DoesNotFit(
        f"{nearest.blueprint.reference} fits nowhere: on {nearest.offer.name}"
        f" {report.shortage(nearest)}; try {', '.join(hints)}"
    )


def _print(found: Found, placed: Placement, able: Sequence[Node], settings: PlanSettings) -> None:
    command = shlex.join(["gguf-deploy", *sys.argv[1:]])
    if settings.json or settings.format == "json":
        text = dumps(placed)
    elif settings.format == "helm":
        text = helm.text(placed, _alternatives(found), command=command)
    elif settings.format == "compose":
        text = compose.text(placed, command=command)
    elif settings.format == "modal":
        # Only what was asked for: a GPU that nobody named may cost several times as much.
        text = modal.text(placed, _alternatives(found) if settings.gpu else ())
    else:
        show(report.lines(found, placed, able))
        return
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _alternatives(found: Found) -> list[Gpu]:
    """All kinds of GPU that would do in the chosen number."""
    assert found.chosen is not None
    chosen = found.chosen.offer
    rivals = [trial.offer.gpu for trial in found.trials if trial.offer.count == chosen.count]
    return alternatives([gpu for gpu in rivals if gpu is not None], chosen.memory_bytes)
