"""The same numbers by formula: the independent check of what llama.cpp is asked.

It knows thirteen architectures at one version of llama.cpp, which is why the product has no such
thing. Weights and caches are exact. Compute buffers are the largest phase of a graph, exact for
transformers that are wholly on GPUs; elsewhere they are rough, and ``is_exact`` is False.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gguf_server.knobs import Knobs
from gguf_server.models.gguf.types import TENSOR_TYPES
from tests.deploy.architectures import Synthetic

GPU_ALIGNMENT, HOST_ALIGNMENT = 128, 32
ROW, CELLS, COPIES = 512, 256, 4
CACHE_TYPES = {"f16": TENSOR_TYPES[1], "q8_0": TENSOR_TYPES[8]}
WINDOWS = {"gemma3": 6, "gpt-oss": 2}  # of so many layers, all but the last see a window
ON_HOST = ("token_embd.weight", "token_types.weight", "position_embd.weight")
SCORED = 64
HOST = -1  # as a device


@dataclass(frozen=True)
class Use:
    weights: int = 0
    cache: int = 0
    compute: int = 0


@dataclass(frozen=True)
class Need:
    gpus: Sequence[Use]
    host: Use
    is_exact: bool


@dataclass(frozen=True)
class Case:
    """A model as it is to run."""

    model: Synthetic
    knobs: Knobs
    num_gpus: int

    def key(self, name: str, default: int = 0) -> Any:
        return self.model.keys.get(name, default)

    @property
    def layers(self) -> int:
        return int(self.key("block_count"))

    @property
    def on_gpus(self) -> int:
        """Layers, and the output as one more."""
        asked = self.knobs.n_gpu_layers
        return self.layers + 1 if asked < 0 else min(asked, self.layers + 1)

    def device(self, layer: int) -> int:
        """Of a layer, or with the number of layers, of the output."""
        place = layer - (self.layers + 1 - self.on_gpus)
        return HOST if place < 0 else place * self.num_gpus // self.on_gpus

    @property
    def is_unified(self) -> bool:
        return self.knobs.kv_layout == "unified"

    @property
    def is_encoder(self) -> bool:
        return self.model.architecture == "bert"

    @property
    def tokens(self) -> int:
        """Of a batch, the same number for each sequence."""
        if self.is_encoder:
            return int(self.key("context_length"))
        slots = self.knobs.slots
        return _padded(max(self.knobs.max_batch_tokens, slots), slots)

    @property
    def streams(self) -> int:
        return 1 if self.is_unified else self.knobs.slots

    @property
    def has_flash(self) -> bool:
        """Left to llama.cpp, a GPU that computes for layers of the CPU ends it: from 32 sequences
        on, which is how many an encoder has at the least."""
        is_mixed = self.is_encoder and self.device(0) == HOST
        is_quantized = self.knobs.cache_type_v != "f16"
        return self.knobs.flash_attention != "off" and (is_quantized or not is_mixed)

    @property
    def is_latent(self) -> bool:
        """Keys and values of all heads in one vector."""
        return "attention.kv_lora_rank" in self.model.keys

    @property
    def is_fused(self) -> bool:
        """Queries, keys and values come from one product, gate and up from another."""
        return self.model.architecture == "phi3"

    @property
    def used_experts(self) -> int:
        return int(self.key("expert_used_count"))

    @property
    def expert_feed(self) -> int:
        return int(self.key("expert_feed_forward_length") or self.key("feed_forward_length"))

    @property
    def width(self) -> int:
        return int(self.key("embedding_length"))

    @property
    def heads(self) -> int:
        return int(self.key("attention.head_count"))

    @property
    def cells(self) -> int:
        """Of one stream."""
        if self.is_encoder:
            return self.tokens
        each = _padded(self.knobs.context_tokens, CELLS)
        return each * self.knobs.slots if self.is_unified else each

    @property
    def window_cells(self) -> int:
        window = self.key("attention.sliding_window")
        shared = window * (self.knobs.slots if self.is_unified else 1)
        batch = max(self.knobs.max_batch_tokens, self.knobs.slots)
        return min(self.cells, _padded(shared + batch, CELLS))

    def sees_window(self, layer: int) -> bool:
        period = WINDOWS.get(self.model.architecture)
        return period is not None and layer % period < period - 1

    def kv_heads(self, layer: int) -> int:
        heads = self.key("attention.head_count_kv")
        return int(heads[layer] if isinstance(heads, list) else heads)

    def has_state(self, layer: int) -> bool:
        hybrid = self.model.architecture == "granitehybrid" and self.kv_heads(layer) > 0
        return "ssm.state_size" in self.model.keys and not hybrid


def needs(case: Case) -> Need:
    weights, cache = _weights(case), _cache(case)
    uses = [Use(weights[gpu], cache[gpu], _compute(case, gpu)) for gpu in range(case.num_gpus)]
    return Need(uses, Use(weights[HOST], cache[HOST], _host_compute(case)), _is_exact(case))


# --- weights -----------------------------------------------------------------------------------


def _weights(case: Case) -> dict[int, int]:
    total = dict.fromkeys((HOST, *range(case.num_gpus)), 0)
    names = {name for name, _, _ in case.model.shapes}
    for name, dimensions, number in case.model.shapes:
        device = _device(case, name)
        total[device] += _tensor_bytes(dimensions, number, on_gpu=device != HOST)
        if name == "token_embd.weight" and "output.weight" not in names and not case.is_encoder:
            output = case.device(case.layers)
            if output != HOST:  # a second time, for the output
                total[output] += _tensor_bytes(dimensions, number, on_gpu=True)
    return total


def _device(case: Case, name: str) -> int:
    if name in ON_HOST:
        return HOST
    found = re.match(r"blk\.(\d+)\.", name)
    if found is None:
        return case.device(0 if name.startswith("token_embd_norm") else case.layers)
    layer = int(found[1])
    is_moved = layer < case.knobs.n_cpu_moe and "_exps." in name
    return HOST if is_moved else case.device(layer)


def _tensor_bytes(dimensions: Sequence[int], number: int, *, on_gpu: bool) -> int:
    kind = TENSOR_TYPES[number]
    size = kind.size_bytes(math.prod(dimensions))
    if on_gpu and kind.block_elements > 1 and dimensions[0] % ROW:
        size += kind.size_bytes(ROW - dimensions[0] % ROW)
    return _padded(size, GPU_ALIGNMENT if on_gpu else HOST_ALIGNMENT)


def _padded(number: int, unit: int) -> int:
    return -(-number // unit) * unit


# --- cache -------------------------------------------------------------------------------------


def _cache(case: Case) -> dict[int, int]:
    total = dict.fromkeys((HOST, *range(case.num_gpus)), 0)
    for layer in range(0 if case.is_encoder else case.layers):
        device = case.device(layer)
        for width, kind in _widths(case, layer):
            cells = case.window_cells if case.sees_window(layer) else case.cells
            shape = (width, cells * case.streams)
            total[device] += _tensor_bytes(shape, kind, on_gpu=device != HOST)
        total[device] += _state_bytes(case) if case.has_state(layer) else 0
    return total


def _widths(case: Case, layer: int) -> list[tuple[int, int]]:
    """Of keys and of values, with the number of their type."""
    heads = case.kv_heads(layer)
    numbers = {"f16": 1, "q8_0": 8}
    keys = (case.key("attention.key_length") * heads, numbers[case.knobs.cache_type_k])
    values = (case.key("attention.value_length") * heads, numbers[case.knobs.cache_type_v])
    if case.is_latent:
        return [keys]
    return [keys, values] if heads else []


def _state_bytes(case: Case) -> int:
    """Of convolution and recurrence, for every sequence."""
    inner, state = case.key("ssm.inner_size"), case.key("ssm.state_size")
    wide = inner + 2 * case.key("ssm.group_count") * state
    parts = ((case.key("ssm.conv_kernel") - 1) * wide, state * inner)
    return sum(_padded(4 * part * case.knobs.slots, GPU_ALIGNMENT) for part in parts)


# --- compute -----------------------------------------------------------------------------------


def _compute(case: Case, gpu: int) -> int:
    """The largest phase, with the inputs that all of them need. Phases are in floats of a token."""
    middle = max(_feed_forward(case), _experts(case), _states(case))
    inputs, floats_bytes = _input_bytes(case), 4 * case.tokens
    outputs = min(case.knobs.slots + SCORED, case.tokens) * (case.width + case.key("vocab_size"))
    size = max(
        inputs + floats_bytes * middle + _fetched_bytes(case),
        inputs + floats_bytes * _attention(case) + _copied_bytes(case),
        0 if case.is_encoder else 4 * outputs,
    )
    if case.num_gpus > 1:  # each works on a batch while the others work on the next ones
        size += (COPIES - 1) * inputs + floats_bytes * case.width * _received(case, gpu)
    return size


def _received(case: Case, gpu: int) -> int:
    """Vectors of a token that came from the host or from the GPU before, with all their copies."""
    if case.is_encoder:
        return COPIES * (1 if gpu else 2)
    if not case.heads:
        return COPIES * 3 * (gpu + 1)
    is_shared = "expert_shared_feed_forward_length" in case.model.keys
    is_counted = _results(case) > _products(case) and not is_shared  # in that phase already
    return COPIES * (2 if gpu else 1) - is_counted


def _host_compute(case: Case) -> int:
    """The inputs, embeddings looked up twice over, and what is computed there beside states."""
    copies = COPIES if case.num_gpus > 1 else 1
    floats = (copies + 1) * case.width
    if case.has_state(0) and case.device(0) == HOST:
        products = case.heads * case.cells if case.kv_heads(0) and not case.has_flash else 0
        floats += max(5 * case.width, products)
    return copies * _input_bytes(case) + 4 * case.tokens * floats


def _input_bytes(case: Case) -> int:
    """Masks of whole attention and of windows, and without flash attention where values go."""
    has_window = case.model.architecture in WINDOWS
    cells = case.cells + (case.window_cells if has_window else 0)
    size = cells * case.tokens * (2 if case.has_flash else 4) if case.heads else 0
    if not (case.has_flash or case.is_encoder or case.is_latent or not case.heads):
        size += 8 * case.tokens * _shared(case) * (2 if has_window else 1)
    return size + 20 * case.tokens


def _shared(case: Case) -> int:
    """The width of values, or keys, of one layer."""
    return max(map(case.kv_heads, range(case.layers))) * int(case.key("attention.key_length"))


def _inner(case: Case) -> int:
    """The width of queries."""
    return case.heads * int(case.key("attention.key_length", case.width // max(1, case.heads)))


def _feed_forward(case: Case) -> int:
    """Gate, up and their product."""
    feed = int(case.key("feed_forward_length"))
    if case.is_encoder:
        return feed + 2 * case.width
    return 3 * feed + (1 if case.is_fused else 2) * case.width + _inner(case)


def _experts(case: Case) -> int:
    largest = max(_products(case), _results(case))
    return largest + _inner(case) if case.used_experts else 0


def _products(case: Case) -> int:
    """Gate, up and their product, of all experts that a token uses."""
    return 3 * case.used_experts * case.expert_feed + 2 * case.width


def _results(case: Case) -> int:
    """Of those experts, before and after they are weighed."""
    return case.used_experts * (2 * case.width + case.expert_feed)


def _attention(case: Case) -> int:
    """Without flash attention, with the products of all queries and keys."""
    products = 0 if case.has_flash else case.heads * case.cells
    if case.is_encoder:
        return products + 5 * case.width
    if case.is_fused:
        return products + (3 if case.has_flash else 2) * _inner(case)
    return products + case.width + 3 * _inner(case)


def _states(case: Case) -> int:
    return 6 * int(case.key("ssm.inner_size"))


def _copied_bytes(case: Case) -> int:
    """Keys and values of one layer: converted where they are quantized, or fetched to a GPU."""
    if case.is_encoder or not case.heads:
        return 0
    count = case.cells * case.streams * _shared(case) * (1 if case.is_latent else 2)
    kind = CACHE_TYPES[case.knobs.cache_type_k]
    converted = 2 * count if kind.block_elements > 1 else 0
    if case.device(0) != HOST:
        return converted
    lost = 3 / 2 if case.is_fused else 1  # to a hole that is too small
    return converted + int(lost * kind.size_bytes(count))


def _fetched_bytes(case: Case) -> int:
    """The largest tensor in host memory, which is computed with on a GPU."""
    sizes = [
        _tensor_bytes(dimensions, number, on_gpu=True)
        for name, dimensions, number in case.model.shapes
        if name.startswith("blk.") and _device(case, name) == HOST
    ]
    return max(sizes, default=0)


def _is_exact(case: Case) -> bool:
    on_gpus = case.on_gpus > case.layers and not case.knobs.n_cpu_moe
    has_states = "ssm.state_size" in case.model.keys
    is_plain = not case.is_latent and not has_states and case.knobs.cache_type_k == "f16"
    return on_gpus and is_plain
