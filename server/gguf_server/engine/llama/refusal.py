"""Why llama.cpp refused a file, in one line: its own words, and what to do."""

from typing import Final

from gguf_server.engine.llama.log import LlamaLog


def refusal(path: str, log: LlamaLog, how: str = "") -> str:
    reason = log.last_error() or "llama.cpp gave no reason"
    advice = next((text for words, text in _ADVICE if any(w in reason for w in words)), "")
    return f"Cannot load {path}{how}: {reason.rstrip('.')}. {advice}".rstrip()


_ADVICE: Final = (
    (
        ("alloc", "memory"),
        "Lower the context or the slots, put fewer layers on this device, or take a smaller file.",
    ),
    (
        ("unknown model architecture", "only supports up to version", "unknown type"),
        "Use a newer image: this llama.cpp does not know it.",
    ),
    (("magic", "GGUFv1", "too old"), "This is not a GGUF file; take one."),
    (
        ("corrupted", "failed to read", "not found", "invalid", "missing"),
        "The file is damaged or incomplete; fetch it again.",
    ),
    (("flash_attn",), "Set flash attention to on or auto, or the V cache to f16."),
    (("base model", "arch mismatch"), "Take the adapter that was made for this model."),
    (("general.type",), "Take a LoRA adapter in GGUF format."),
)
