"""The GPUs that we plan for: what each has, what clouds call it, and what it costs.

Sources, by the letters in the comments:
a  memory: nvidia-smi's totals that modal-labs/modal-client#2797 quotes
b  memory: nvidia-smi's own tables in public logs (H200 143771MiB, B200 183359MiB, RTX PRO 6000
   Server Edition 97887MiB, RTX 5090 32607MiB, RTX 4090 24564MiB, RTX 3090 24576MiB)
c  bandwidth: NVIDIA's data sheets, of the variant that clouds have
d  compute capability: developer.nvidia.com/cuda-gpus
e  Modal's names and limits: modal.com/docs/guide/gpu; it tells none of RTX-PRO-6000, 8 is assumed
f  AWS: karpenter-provider-aws at 1d927085, docs/reference/instance-types
g  Azure: karpenter-provider-azure at 352646f5, which cuts the name out of the VM size's
h  GKE: values of gke-accelerator in Google's guides and in public manifests
i  price: what Modal lists, by third parties (techbytes.app 2026-05-07; B200: blaxel.ai)
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gguf_server.errors import SettingsError

PRICES_AS_OF = "2026-05-07"

_MIB = 1024**2
_GB = 1000**3
_DEAREST = 1e6  # dollars an hour; more is a mistake, and so is what is no number


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """``memory_bytes`` is what the driver reports of one, always less than the name promises;
    where nobody measured it, it is the data sheet's. ``modal_name`` is empty where Modal has none.
    ``gke``, ``karpenter`` and ``aks`` are label values, ``machines`` patterns of machine types,
    ``products`` beginnings of the driver's name with dashes. US dollars an hour, for one.
    """

    name: str
    memory_bytes: int
    memory_is_measured: bool = True
    bandwidth_bytes_per_second: int
    compute_capability: tuple[int, int]
    modal_name: str = ""
    max_per_modal_container: int = 0
    gke: tuple[str, ...] = ()
    karpenter: tuple[str, ...] = ()
    aks: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    price_per_hour: float | None = None


GPUS: tuple[Gpu, ...] = (
    Gpu(
        name="T4",
        memory_bytes=15360 * _MIB,  # a
        bandwidth_bytes_per_second=320 * _GB,  # c
        compute_capability=(7, 5),  # d
        modal_name="T4",
        max_per_modal_container=8,  # e
        gke=("nvidia-tesla-t4",),  # h
        karpenter=("t4",),  # f
        aks=("T4",),  # g
        machines=("g4dn.*", "Standard_NC*_T4_v3"),  # f, g
        products=("Tesla-T4", "NVIDIA-T4"),
        price_per_hour=0.5904,  # i
    ),
    Gpu(
        name="L4",
        memory_bytes=23034 * _MIB,  # a
        bandwidth_bytes_per_second=300 * _GB,  # c
        compute_capability=(8, 9),  # d
        modal_name="L4",
        max_per_modal_container=8,  # e
        gke=("nvidia-l4",),  # h
        karpenter=("l4",),  # f
        machines=("g6.*", "gr6.*"),  # f
        products=("NVIDIA-L4",),
        price_per_hour=0.7992,  # i
    ),
    Gpu(
        name="A10",
        memory_bytes=23028 * _MIB,  # a; AWS' A10G reports the same
        bandwidth_bytes_per_second=600 * _GB,  # c
        compute_capability=(8, 6),  # d
        modal_name="A10",
        max_per_modal_container=4,  # e
        karpenter=("a10g",),  # f
        aks=("A10",),  # g
        machines=("g5.*", "Standard_NC*_A10_v4", "Standard_NV*_A10_v5"),  # f, g
        products=("NVIDIA-A10", "NVIDIA-A10G"),
        aliases=("A10G",),
    ),
    Gpu(
        name="L40S",
        memory_bytes=46068 * _MIB,  # a
        bandwidth_bytes_per_second=864 * _GB,  # c
        compute_capability=(8, 9),  # d
        modal_name="L40S",
        max_per_modal_container=8,  # e
        karpenter=("l40s",),  # f
        machines=("g6e.*",),  # f
        products=("NVIDIA-L40S",),
        price_per_hour=1.9512,  # i
    ),
    Gpu(
        name="A100-40GB",
        memory_bytes=40960 * _MIB,  # a
        bandwidth_bytes_per_second=1555 * _GB,  # c
        compute_capability=(8, 0),  # d
        modal_name="A100-40GB",
        max_per_modal_container=8,  # e
        gke=("nvidia-tesla-a100",),  # h
        karpenter=("a100",),  # f
        machines=("p4d.*", "Standard_ND96asr_v4"),  # f, g
        products=("NVIDIA-A100-SXM4-40GB", "A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"),
        aliases=("A100",),  # so Modal means it
    ),
    Gpu(
        name="A100-80GB",
        memory_bytes=81920 * _MIB,  # a
        bandwidth_bytes_per_second=2039 * _GB,  # c: SXM; PCIe 1935
        compute_capability=(8, 0),  # d
        modal_name="A100-80GB",
        max_per_modal_container=8,  # e
        gke=("nvidia-a100-80gb",),  # h
        karpenter=("a100",),  # f
        aks=("A100",),  # g: all sizes with A100 in the name have 80 GB
        machines=("p4de.*", "Standard_N*_A100_v4"),  # f, g
        products=("NVIDIA-A100-SXM4-80GB", "A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"),
        price_per_hour=2.4984,  # i
    ),
    Gpu(
        name="RTX-PRO-6000",
        memory_bytes=97887 * _MIB,  # b
        bandwidth_bytes_per_second=1597 * _GB,  # c: Server Edition; Workstation 1792
        compute_capability=(12, 0),  # d
        modal_name="RTX-PRO-6000",
        max_per_modal_container=8,  # e
        gke=("nvidia-rtx-pro-6000",),  # h
        karpenter=("rtx-pro-server-6000",),  # f
        aks=("RTXPRO6000BSE",),  # g
        machines=("g7e.*", "Standard_NC*_RTXPRO6000BSE_v6"),  # f, g
        products=("NVIDIA-RTX-PRO-6000-Blackwell",),
    ),
    Gpu(
        name="H100",
        memory_bytes=81559 * _MIB,  # a
        bandwidth_bytes_per_second=3350 * _GB,  # c: SXM; PCIe 2000
        compute_capability=(9, 0),  # d
        modal_name="H100",
        max_per_modal_container=8,  # e
        gke=("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),  # h
        karpenter=("h100",),  # f
        aks=("H100",),  # g; the NC sizes have 94 GB
        machines=("p5.*", "Standard_N*_H100_v5"),  # f, g
        products=("NVIDIA-H100",),
        price_per_hour=3.9492,  # i
    ),
    Gpu(
        name="H200",
        memory_bytes=143771 * _MIB,  # b
        bandwidth_bytes_per_second=4800 * _GB,  # c
        compute_capability=(9, 0),  # d
        modal_name="H200",
        max_per_modal_container=8,  # e
        gke=("nvidia-h200-141gb",),  # h
        karpenter=("h200",),  # f
        aks=("H200",),  # g
        machines=("p5e.*", "p5en.*", "Standard_N*_H200_v5"),  # f, g
        products=("NVIDIA-H200",),
    ),
    Gpu(
        name="B200",
        memory_bytes=183359 * _MIB,  # b
        bandwidth_bytes_per_second=7672 * _GB,  # pytorch/ao#4002, by the driver's bus and clock
        compute_capability=(10, 0),  # d
        modal_name="B200",
        max_per_modal_container=8,  # e
        gke=("nvidia-b200",),  # h
        karpenter=("b200",),  # f
        machines=("p6-b200.*",),  # f
        products=("NVIDIA-B200",),
        price_per_hour=6.25,  # i
    ),
    Gpu(
        name="RTX-3090",
        memory_bytes=24576 * _MIB,  # b
        bandwidth_bytes_per_second=936 * _GB,  # c
        compute_capability=(8, 6),  # d
        products=("NVIDIA-GeForce-RTX-3090", "GeForce-RTX-3090"),
    ),
    Gpu(
        name="RTX-4090",
        memory_bytes=24564 * _MIB,  # b
        bandwidth_bytes_per_second=1008 * _GB,  # c
        compute_capability=(8, 9),  # d
        products=("NVIDIA-GeForce-RTX-4090",),
    ),
    Gpu(
        name="RTX-5090",
        memory_bytes=32607 * _MIB,  # b
        bandwidth_bytes_per_second=1792 * _GB,  # c
        compute_capability=(12, 0),  # d
        products=("NVIDIA-GeForce-RTX-5090",),
    ),
)


def find(name: str, gpus: Iterable[Gpu] = GPUS) -> Gpu:
    """By any of its names, in any case: ``l4``, ``A10G``, ``H100!``, ``nvidia-tesla-t4``,
    ``NVIDIA A100-SXM4-80GB``. Raises ``SettingsError``.
    """
    known = tuple(gpus)
    keys = {_key(each): gpu for gpu in known for each in _names(gpu)}
    if found := keys.get(_key(name)):
        return found
    near = difflib.get_close_matches(_key(name), keys, n=1)
    hint = f"did you mean {keys[near[0]].name}? " if near else ""
    msg = f"there is no GPU {name!r} in the catalogue; {hint}known are {_listed(known)}"
    raise SettingsError(msg)


def by_product(product: str) -> Gpu | None:
    """By the driver's name with dashes, as NVIDIA's feature discovery labels it.

    A name goes on after a dash only: ``NVIDIA-L40S`` is no ``NVIDIA-L4``.
    """
    fitting = [
        (len(each), gpu)
        for gpu in GPUS
        for each in gpu.products
        if product == each or product.startswith(f"{each}-")
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def load_prices(path: Path) -> dict[str, float]:
    """US dollars an hour by our names, from JSON or TOML: ``{"L4": 0.8}`` or ``L4 = 0.8``.

    Raises ``SettingsError``.
    """
    prices: dict[str, float] = {}
    for name, value in _read_table(path).items():
        try:
            gpu = find(name)
        except SettingsError as exc:
            raise SettingsError(f"{path}: {exc.message}") from None
        if gpu.name in prices:
            msg = f"{path}: {gpu.name} has two prices; leave one"
            raise SettingsError(msg)
        prices[gpu.name] = _price(path, name, value)
    return prices


def priced(prices: Mapping[str, float]) -> tuple[Gpu, ...]:
    """The catalogue, with these prices instead of ours where they say one."""
    return tuple(
        replace(gpu, price_per_hour=prices.get(gpu.name, gpu.price_per_hour)) for gpu in GPUS
    )


def _names(gpu: Gpu) -> tuple[str, ...]:
    """Without what Karpenter and AKS say: their ``a100`` may have 40 or 80 GB."""
    return (gpu.name, *gpu.aliases, *gpu.gke, *gpu.products)


def _key(name: str) -> str:
    words = [word for word in name.lower().replace("_", "-").replace(" ", "-").split("-") if word]
    while words and words[0] in ("nvidia", "tesla", "geforce"):
        del words[0]
    return "-".join(words).rstrip("!+")


def _listed(gpus: Iterable[Gpu]) -> str:
    return ", ".join(gpu.name for gpu in gpus)


def _read_table(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise SettingsError(f"the prices in {path} cannot be read: {reason}") from None
    try:
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as exc:
        kind = "JSON" if path.suffix == ".json" else "TOML (JSON is what ends in .json)"
        raise SettingsError(f"{path} is not {kind}: {exc}") from None
    if not isinstance(table, dict):
        msg = f'{path} must be a table of GPUs and prices, such as {{"L4": 0.8}}'
        raise SettingsError(msg)
    return table


def _price(path: Path, name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _DEAREST:
        return float(value)
    msg = f"{path}: the price of {name} must be US dollars an hour, such as 0.8"
    raise SettingsError(msg)
