"""GGUF files of a few kilobytes with a header worth reading. Nothing could load them."""

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def write_model(
    path: Path,
    *,
    template: str = TEMPLATE,
    base_models: Sequence[str] = (),
    kind: str = "model",
    num_weights: int = 4096,
    part: tuple[int, int] | None = None,
    seed: int = 0,
) -> Path:
    """Each ``seed`` has other weights. ``part`` is which of how many, from 0."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(kind)
    if part:
        writer.add_uint16("split.no", part[0])
        writer.add_uint16("split.count", part[1])
    if template:
        writer.add_chat_template(template)
    if base_models:
        writer.add_base_model_count(len(base_models))
    for number, name in enumerate(base_models):
        writer.add_base_model_repo_url(number, f"https://huggingface.co/{name}")
    weights = np.random.default_rng(seed).random(num_weights, dtype=np.float32)
    writer.add_tensor("token_embd.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
