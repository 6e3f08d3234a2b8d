"""``gguf-server info``: what a model is, from its header; of one on the hub only that is moved."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gguf_server.models.gguf.description import Description, describe
from gguf_server.models.gguf.split import read_headers
from gguf_server.models.inspection import Inspected, inspect
from gguf_server.models.sizes import human_bytes, human_count
from gguf_server.models.store.store import Store
from gguf_server.settings.models import InfoSettings, wanted
from gguf_server.tables import show

_MAX_TYPES = 5


def info(settings: InfoSettings) -> None:
    source = settings.source
    if isinstance(source, Path):
        found = Inspected(str(source), describe(read_headers(source)))
    else:
        store = Store(settings.models_path)
        found = inspect(source, wanted(settings, source), store, offline=settings.offline)
    if settings.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        show(lines(found))


def as_json(found: Inspected) -> dict[str, object]:
    """For scripts."""
    about = found.description
    return asdict(about) | {
        "model": found.name,
        "commit": found.commit,
        "reason": found.reason,
        "license": _license(found),
        "base_models": _base_models(found),
        "chat_template_of": found.template_of,
        "bits_per_weight": about.bits_per_weight,
        "unservable": about.unservable,
    }


def lines(found: Inspected) -> list[str]:
    """For people; what the file does not say is left out."""
    about = found.description
    rows = [
        ("model", found.name),
        ("commit", found.commit),
        ("chosen", found.reason),
        ("name", about.name),
        ("architecture", about.architecture),
        ("parameters", _params(about)),
        ("experts", f"{about.num_experts_used} of {about.num_experts} for each token"),
        ("context", f"{about.context_tokens} tokens"),
        ("layers", str(about.num_layers)),
        ("heads", f"{about.num_heads}, {about.num_kv_heads} for keys and values"),
        ("embedding", f"{about.embedding_size} dimensions"),
        ("quantization", _mix(about)),
        ("weights", human_bytes(about.size_bytes)),
        ("tokenizer", about.tokenizer and f"{about.tokenizer}, {about.vocab_size} tokens"),
        ("chat template", _template(found)),
        ("license", _license(found)),
        ("base model", ", ".join(_base_models(found))),
        ("cannot be served", about.unservable),
    ]
    said = [(label, text) for label, text in rows if text and not text.startswith(("0 ", "0,"))]
    width = max(len(label) for label, _ in said)
    return [f"{label.ljust(width)}  {text}" for label, text in said]


def _template(found: Inspected) -> str:
    if found.template_of:
        return f"that of {found.template_of}"
    return "yes" if found.description.chat_template else "none"


def _license(found: Inspected) -> str:
    return found.description.license or found.license


def _base_models(found: Inspected) -> Sequence[str]:
    return found.description.base_models or found.base_models


def _params(about: Description) -> str:
    text = human_count(about.num_params)
    if about.num_active_params != about.num_params:
        text += f", {human_count(about.num_active_params)} of them for each token"
    return text


def _mix(about: Description) -> str:
    """``Q8_0, 8.5 bits a weight (Q8_0 98 %, F32 2 %)``"""
    shares = [
        f"{name} {100 * size / about.size_bytes:.0f} %"
        for name, size in list(about.tensor_bytes.items())[:_MAX_TYPES]
        if about.size_bytes
    ]
    label = about.label or (next(iter(about.tensor_bytes), "") and "mixed")
    return f"{label}, {about.bits_per_weight:.2f} bits a weight ({', '.join(shares)})"
