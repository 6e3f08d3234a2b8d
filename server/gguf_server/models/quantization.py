"""The field's names of quantizations, what they cost in bits, and how to find them in a path.

Order and names follow huggingface.js (packages/tasks/src/gguf.ts, ``GGUF_QUANT_ORDER``), the bits
are those of common 7 to 14 B models: rough, and good enough to tell when a name lies.
"""

import re

# From the most bits to the fewest: the field's order.
NOMINAL_BITS = {
    "F32": 32.0,
    "BF16": 16.0,
    "F16": 16.0,
    "Q8_K_XL": 9.5,
    "Q8_0": 8.5,
    "Q6_K_XL": 7.2,
    "Q6_K_L": 6.7,
    "Q6_K": 6.56,
    "Q5_K_XL": 5.8,
    "Q5_K_L": 5.8,
    "Q5_K_M": 5.68,
    "Q5_K_S": 5.53,
    "Q5_1": 6.0,
    "Q5_0": 5.54,
    "Q4_K_XL": 5.0,
    "Q4_K_L": 5.0,
    "Q4_K_M": 4.85,
    "Q4_K_S": 4.58,
    "IQ4_NL": 4.56,
    "IQ4_XS": 4.3,
    "Q4_1": 5.0,
    "Q4_0": 4.55,
    "NVFP4": 4.5,
    "MXFP4": 4.4,
    "Q3_K_XL": 4.3,
    "Q3_K_L": 4.27,
    "Q3_K_M": 3.9,
    "Q3_K_S": 3.5,
    "IQ3_M": 3.66,
    "IQ3_S": 3.5,
    "IQ3_XS": 3.3,
    "IQ3_XXS": 3.1,
    "Q2_K_XL": 3.3,
    "Q2_K_L": 3.2,
    "Q2_K": 3.0,
    "Q2_K_S": 2.8,
    "IQ2_M": 2.7,
    "IQ2_S": 2.5,
    "IQ2_XS": 2.4,
    "IQ2_XXS": 2.2,
    "TQ2_0": 2.1,
    "IQ1_M": 1.9,
    "IQ1_S": 1.7,
    "TQ1_0": 1.7,
    "Q1_0": 1.1,
}
_PREFERRED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
# Best first, when nobody says otherwise.
LABELS = (*_PREFERRED, *(label for label in NOMINAL_BITS if label not in _PREFERRED))
# llama.cpp loads them no more; it repacks Q4_0 itself.
REMOVED = ("Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8")
DYNAMIC = "UD-"  # unsloth's, with more bits where they matter
_ALIASES = {
    "FP32": "F32",
    "FP16": "F16",
    "MXFP4_MOE": "MXFP4",
    "Q3_K": "Q3_K_M",
    "Q4_K": "Q4_K_M",
    "Q5_K": "Q5_K_M",
    "Q6K": "Q6_K",
    "Q8": "Q8_0",
}
_NAMES = sorted((*NOMINAL_BITS, *REMOVED, *_ALIASES), key=len, reverse=True)
# Whole tokens only: Q4_K is not in Q4_K_M, nor F16 in BF16.
_LABEL = re.compile(
    rf"(?<![A-Z0-9])(?P<dynamic>UD[-_])?(?P<label>{'|'.join(_NAMES)})"
    r"(?![A-Z0-9]|_(?:\d+|[SML]|X+[SL])(?![A-Z0-9]))"
)


def canonical(text: str) -> str:
    """A label as we write it: ``ud-q4_k_xl`` is ``UD-Q4_K_XL``, ``fp16`` is ``F16``."""
    upper = text.strip().upper()
    dynamic = DYNAMIC if upper.startswith(DYNAMIC) else ""
    plain = upper.removeprefix(DYNAMIC)
    return dynamic + _ALIASES.get(plain, plain)


def is_meant(label: str, wanted: str) -> bool:
    """``Q4_K_XL`` means unsloth's ``UD-Q4_K_XL``, too, and not the reverse. Both canonical."""
    return wanted in (label, label.removeprefix(DYNAMIC))


def is_known(label: str) -> bool:
    """Is it a quantization's name, canonical?"""
    return label.removeprefix(DYNAMIC) in NOMINAL_BITS


def label_of(path: str) -> str:
    """The last label in the file's name, else in its folders'; empty where there is none."""
    *folders, name = path.upper().split("/")
    for part in (_without_suffix(name), *reversed(folders)):
        if found := list(_LABEL.finditer(part)):
            last = found[-1]
            return canonical((DYNAMIC if last["dynamic"] else "") + last["label"])
    return ""


def without_labels(text: str) -> str:
    """What is left of a name, for comparing models rather than quantizations."""
    return _LABEL.sub("", text.upper())


def nominal_bits(label: str) -> float | None:
    """Bits a weight, roughly; None for a label that is none of ours."""
    return NOMINAL_BITS.get(label.removeprefix(DYNAMIC))


def _without_suffix(name: str) -> str:
    return name.removesuffix(".GGUF")
