"""``gguf-deploy gpus``: the GPUs that we plan for."""

import json
from collections.abc import Iterable

from gguf_deploy.hardware import PRICES_AS_OF, Gpu, load_prices, priced
from gguf_deploy.settings import GpusSettings
from gguf_server.models.sizes import gibibytes, human_bytes
from gguf_server.tables import show, table


def gpus(settings: GpusSettings) -> None:
    """Raises ``SettingsError`` for a file of prices that is no good."""
    path = settings.prices_path
    own = load_prices(path) if path else {}
    catalogue = priced(own)
    if settings.json:
        print(json.dumps(as_json(catalogue, own), indent=1))
    else:
        show(lines(catalogue, str(path) if path else ""))


def lines(catalogue: Iterable[Gpu], prices_file: str) -> list[str]:
    """For people."""
    heads = ("GPU", "MEMORY", "BANDWIDTH", "CUDA", "MODAL", "NODE LABELS", "$ AN HOUR")
    source = f", or those of {prices_file}" if prices_file else "; give your own with --prices FILE"
    return [
        *table(heads, [_cells(gpu) for gpu in catalogue]),
        f"Prices are what Modal listed on {PRICES_AS_OF}{source}.",
    ]


def as_json(catalogue: Iterable[Gpu], own: Iterable[str]) -> dict[str, object]:
    """For scripts. A price of the user's own has no date."""
    mine = set(own)
    gpus = [_as_json(gpu) | {"price_is_yours": gpu.name in mine} for gpu in catalogue]
    return {"prices_as_of": PRICES_AS_OF, "gpus": gpus}


def _as_json(gpu: Gpu) -> dict[str, object]:
    return {
        "name": gpu.name,
        "memory_bytes": gpu.memory_bytes,
        "memory_is_measured": gpu.memory_is_measured,
        "bandwidth_bytes_per_second": gpu.bandwidth_bytes_per_second,
        "compute_capability": list(gpu.compute_capability),
        "modal_name": gpu.modal_name,
        "max_per_modal_container": gpu.max_per_modal_container,
        "labels": {
            "products": list(gpu.products),
            "gke": list(gpu.gke),
            "karpenter": list(gpu.karpenter),
            "aks": list(gpu.aks),
            "machines": list(gpu.machines),
        },
        "price_per_hour": gpu.price_per_hour,
    }


def _cells(gpu: Gpu) -> tuple[str, ...]:
    major, minor = gpu.compute_capability
    return (
        gpu.name,
        f"{gibibytes(gpu.memory_bytes)}{'' if gpu.memory_is_measured else ' (data sheet)'}",
        f"{human_bytes(gpu.bandwidth_bytes_per_second)}/s",
        f"{major}.{minor}",
        f"{gpu.modal_name}, up to {gpu.max_per_modal_container}" if gpu.modal_name else "-",
        ", ".join((*gpu.products[:1], *gpu.gke[:1], *gpu.karpenter)),
        "-" if gpu.price_per_hour is None else f"{gpu.price_per_hour:.2f}",
    )
