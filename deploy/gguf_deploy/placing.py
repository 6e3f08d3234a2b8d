"""From the trial that was chosen to the document that everybody else carries out."""

import msgspec

from gguf_deploy.ask import Offer
from gguf_deploy.planner import Trial
from gguf_server.models.placement import PlacedGpu, PlacedModel, Placement, Startup


def placement(trial: Trial, startup: Startup) -> Placement:
    """Options that were left to the model are spelled out: what was counted is what will run."""
    measurement = trial.measurement
    return Placement(
        llama_cpp=measurement.llama_cpp,
        model=_model(trial),
        gpu=_gpu(trial.offer),
        knobs=msgspec.structs.replace(trial.knobs, context_tokens=measurement.context_tokens),
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
