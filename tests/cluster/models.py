"""Models of the sizes that people serve: headers as long as the real ones, and no data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.architectures import (
    BF16,
    Q8_0,
    RMS,
    Sizes,
    Synthetic,
    attention,
    blocks,
    deepseek_671b,
    feed_forward,
    llama_moe,
    norms,
)
from tests.hub.content import File
from tests.hub.server import Hub


@dataclass(frozen=True)
class Model:
    """``options`` are those of its plan."""

    header: Synthetic
    quant: str = "Q8_0"
    options: tuple[str, ...] = ()


def _llama(size: Sizes) -> Synthetic:
    layer = [*attention(size), *norms(size.width, "ffn_norm"), *feed_forward(size)]
    shapes = size.ends(kind=size.kind) + blocks(size.layers, lambda _: layer)
    return Synthetic("llama", size.keys() | RMS, shapes)


def _llama_70b(kind: int) -> Synthetic:
    return _llama(Sizes(80, 8192, 64, 8, 128, 28672, 128_256, kind))


_8B = _llama(Sizes(32, 4096, 32, 8, 128, 14336, 128_256, Q8_0))
MODELS: Mapping[str, Model] = {
    "smollm2-135m": Model(_llama(Sizes(30, 576, 9, 3, 64, 1536, 49_152, Q8_0))),
    "smollm2-1b7": Model(_llama(Sizes(24, 2048, 32, 32, 64, 8192, 49_152, Q8_0))),
    "llama-8b": Model(_8B),
    # More than a T4 has, and less than EC2 says that it has.
    "llama-8b-busy": Model(_8B, options=("--parallel", "13")),
    "moe-8x3b": Model(llama_moe()),
    "qwen-32b": Model(_llama(Sizes(64, 5120, 40, 8, 128, 27648, 152_064, Q8_0))),
    "llama-70b": Model(_llama_70b(Q8_0), options=("--gpu", "L40S")),  # on two
    "deepseek-671b": Model(deepseek_671b(), "Q4_K_M"),
    # For a GPU that no fake node has.
    "llama-70b-bf16": Model(_llama_70b(BF16), "BF16", ("--gpu", "B200")),
}


def repository(name: str) -> str:
    return f"gguf-tests/{name}"


@contextmanager
def hub_of_models(folder: Path) -> Iterator[Hub]:
    """Nobody downloads more than headers: the hashes are made up."""
    with Hub() as hub:
        for name, model in MODELS.items():
            path = model.header.write(folder / f"{name}-{model.quant}.gguf")
            hub.repository(repository(name), {path.name: File(path, claimed_sha256=64 * "0")})
        yield hub
