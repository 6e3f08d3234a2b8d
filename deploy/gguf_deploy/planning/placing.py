"""From the trial that was chosen to the document that everybody else carries out."""

import msgspec

from gguf_deploy.planning.ask import Offer
from gguf_deploy.planning.search import Trial
from gguf_server.knobs import Knobs
from gguf_server.models.placement import PlacedGpu, PlacedModel, Placement, Startup


def placed_knobs(trial: Trial) -> Knobs:
    """What was left to the model or to the moment is spelled out: what was counted is what will
    run. Without shares llama.cpp divides layers by what is free of each GPU just then.
    """
    count = trial.offer.count
    equal = (1.0,) * count if count > 1 else ()
    return msgspec.structs.replace(
        trial.knobs,
        context_tokens=trial.measurement.context_tokens,
        tensor_split=trial.knobs.tensor_split or equal,
    )


def placement(trial: Trial, startup: Startup) -> Placement:
    """With all options spelled out."""
    measurement = trial.measurement
    return Placement(
        llama_cpp=measurement.llama_cpp,
        model=_model(trial),
        gpu=_gpu(trial.offer),
        knobs=placed_knobs(trial),
        devices=trial.gpus,
        host=trial.host,
        startup=startup,
        speed=trial.speed,
        price_per_hour=trial.offer.price_per_hour,
        changes=trial.changes,
    )


def _gpu(offer: Offer) -> PlacedGpu | None:
    if offer.gpu is None:
        return None
    return PlacedGpu(
        name=offer.gpu.name,
        count=offer.count,
        memory_bytes=offer.memory_bytes,
        modal_name=offer.gpu.modal_name,
    )


def _model(trial: Trial) -> PlacedModel:
    blueprint, about = trial.blueprint, trial.blueprint.description
    return PlacedModel(
        reference=blueprint.reference,
        name=blueprint.name,
        commit=blueprint.commit,
        label=blueprint.label,
        architecture=about.architecture,
        size_bytes=blueprint.size_bytes,
        active_bytes=about.active_bytes,
        num_params=about.num_params,
        num_active_params=about.num_active_params,
        num_layers=trial.measurement.num_layers,
        num_experts=about.num_experts,
        train_context_tokens=trial.measurement.train_context_tokens,
    )
