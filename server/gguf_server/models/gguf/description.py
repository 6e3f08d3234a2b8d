"""What a model is, from its headers alone."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gguf_server.models.gguf.header import Header, LongArray, Tensor
from gguf_server.models.gguf.types import FILE_TYPES

_EXPERT = re.compile(r"\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps\.")
_REPOSITORY = re.compile(r"https?://huggingface\.co/(?P<name>[\w.-]+/[\w.-]+)/?")
_MAX_BASE_MODELS = 16
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Zeros and empty texts stand for what the file does not say.

    ``num_active_params`` are those that one token passes, ``active_bytes`` what it reads of them:
    of the embeddings one row. ``expert_bytes`` are those of all experts. ``tensor_bytes`` tells, by
    type, what the weights are stored as; ``label`` is what the file calls its quantization.
    ``num_kv_heads`` is the most that a layer has. ``largest_bf16_matrix`` is in elements.
    """

    architecture: str
    kind: str
    name: str
    num_params: int
    num_active_params: int
    num_experts: int
    num_experts_used: int
    context_tokens: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    embedding_size: int
    vocab_size: int
    tensor_bytes: dict[str, int]
    label: str
    chat_template: str
    tokenizer: str
    license: str
    base_models: tuple[str, ...]
    size_bytes: int
    active_bytes: int
    expert_bytes: int
    largest_bf16_matrix: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.size_bytes / self.num_params if self.num_params else 0.0

    @property
    def unservable(self) -> str:
        """Why it cannot be served by itself; empty for a model."""
        if self.kind == "adapter":
            return "is an adapter (LoRA); serve its base model with --lora"
        if self.kind == "imatrix" or not self.architecture:
            return "holds no model, but data about one; take the model's own file"
        if self.kind == "mmproj" or self.architecture == "clip":
            return "is a projector for images or sound; take the model that it belongs to"
        if not self.num_params:
            return "holds a vocabulary only; take a file with weights"
        return ""


@dataclass(frozen=True, slots=True)
class _Experts:
    """The weights that are in experts, of which a token meets only some."""

    tensors: Sequence[Tensor]
    count: int
    num_used: int

    @property
    def num_params(self) -> int:
        return sum(each.num_elements for each in self.tensors)

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.tensors)

    def idle(self, amount: int) -> int:
        """Of an amount in all of them, what is in those that a token does not meet."""
        if not 0 < self.num_used <= self.count:
            return 0
        return amount * (self.count - self.num_used) // self.count


def describe(headers: Sequence[Header]) -> Description:
    """Of one file, or of all parts of a split in order; keys are those of the first."""
    first = headers[0]
    tensors = [tensor for header in headers for tensor in header.tensors]
    num_params = sum(tensor.num_elements for tensor in tensors)
    size_bytes = sum(tensor.size_bytes for tensor in tensors)
    experts = _experts(first, tensors)
    looked_up_bytes = _looked_up_bytes(tensors)
    return Description(
        architecture=first.architecture,
        kind=first.text("general.type"),
        name=first.text("general.name"),
        num_params=num_params,
        num_active_params=num_params - experts.idle(experts.num_params),
        num_experts=experts.count,
        num_experts_used=experts.num_used,
        context_tokens=_ours(first, "context_length"),
        num_layers=_ours(first, "block_count"),
        num_heads=_ours(first, "attention.head_count"),
        num_kv_heads=_ours(first, "attention.head_count_kv"),
        embedding_size=_ours(first, "embedding_length"),
        vocab_size=_vocab_size(first),
        tensor_bytes=_tensor_bytes(tensors),
        label=_label(first),
        chat_template=first.text("tokenizer.chat_template"),
        tokenizer=_tokenizer(first),
        license=first.text("general.license"),
        base_models=_base_models(first),
        size_bytes=size_bytes,
        active_bytes=size_bytes - experts.idle(experts.size_bytes) - looked_up_bytes,
        expert_bytes=experts.size_bytes,
        largest_bf16_matrix=_largest_bf16_matrix(tensors),
    )


def _ours(header: Header, key: str) -> int:
    """A number of this architecture; of a list with one for each layer, the greatest."""
    value = header.metadata.get(f"{header.architecture}.{key}", 0)
    if isinstance(value, tuple):
        return max((each for each in value if isinstance(each, int)), default=0)
    return value if isinstance(value, int) else 0


def _experts(header: Header, tensors: Sequence[Tensor]) -> _Experts:
    inside = [each for each in tensors if _EXPERT.search(each.name)]
    return _Experts(inside, _ours(header, "expert_count"), _ours(header, "expert_used_count"))


def _label(header: Header) -> str:
    number = header.whole("general.file_type")
    return "" if number is None else FILE_TYPES.get(number, "")


def _tokenizer(header: Header) -> str:
    """``gpt2 smollm``: its kind, and how it splits text before."""
    texts = (header.text(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    return " ".join(text for text in texts if text)


def _largest_bf16_matrix(tensors: Sequence[Tensor]) -> int:
    """Of those that are multiplied, experts one by one."""
    is_tied = not any(each.name == _OUTPUT for each in tensors)
    return max(
        (
            prod(each.dimensions[:2])
            for each in tensors
            if each.type_name == "BF16" and (is_tied or each.name != _EMBEDDINGS)
        ),
        default=0,
    )


def _looked_up_bytes(tensors: Sequence[Tensor]) -> int:
    """Of the embeddings a token reads one row, unless they are the output layer, too."""
    by_name = {each.name: each.size_bytes for each in tensors}
    return by_name.get(_EMBEDDINGS, 0) if _OUTPUT in by_name else 0


def _vocab_size(header: Header) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return tokens.length if isinstance(tokens, LongArray) else _ours(header, "vocab_size")


def _tensor_bytes(tensors: Sequence[Tensor]) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for tensor in tensors:
        counter[tensor.type_name] += tensor.size_bytes
    return dict(counter.most_common())


def _base_models(header: Header) -> tuple[str, ...]:
    """``org/repo`` of each, where the file says it."""
    count = min(header.whole("general.base_model.count") or 0, _MAX_BASE_MODELS)
    found = [_repository(header, f"general.base_model.{index}") for index in range(count)]
    return tuple(dict.fromkeys(name for name in found if name))


def _repository(header: Header, prefix: str) -> str:
    page = _REPOSITORY.fullmatch(header.text(f"{prefix}.repo_url"))
    return page["name"] if page else ""
