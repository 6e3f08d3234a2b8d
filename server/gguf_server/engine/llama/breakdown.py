"""How much memory a context takes, by llama.cpp's own count.

llama.cpp tells it only in C++: a ``std::map`` by value, whose tree is read here as libstdc++ lays
it out. Its nodes, some hundred bytes, are never freed.
"""

import platform
import sys
from collections.abc import Iterator
from ctypes import (
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_int,
    c_size_t,
    c_uint64,
    c_void_p,
)
from typing import Any, Final

from gguf_server.engine.llama import binding
from gguf_server.engine.llama.structures import function
from gguf_server.errors import MeasurementFailed
from gguf_server.models.measurement import DeviceUse

# llama_get_memory_breakdown(llama_context const*)
_SYMBOL: Final = "_Z26llama_get_memory_breakdownPK13llama_context"
_MACHINES: Final = ("x86_64", "aarch64")
_HOSTS: Final = (0, 3)  # GGML_BACKEND_DEVICE_TYPE_CPU and _ACCEL


class _Node(Structure):
    """``_Rb_tree_node`` with ``pair<ggml_backend_buffer_type_t, llama_memory_breakdown_data>``."""


_Node._fields_ = (
    ("color", c_int),
    ("parent", c_void_p),
    ("left", POINTER(_Node)),
    ("right", POINTER(_Node)),
    ("buffer_type", c_void_p),
    ("weights", c_size_t),
    ("cache", c_size_t),
    ("compute", c_size_t),
)


class _Map(Structure):
    """``std::map``. What its header calls the parent is the root."""

    _fields_ = (
        ("compare", c_uint64),
        ("color", c_int),
        ("root", POINTER(_Node)),
        ("leftmost", c_void_p),
        ("rightmost", c_void_p),
        ("count", c_size_t),
    )


def breakdown(context: binding.Context) -> list[DeviceUse]:
    """Of each kind of memory that the model and this context use, or would use."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        raise MeasurementFailed(
            f"llama.cpp cannot be asked for its memory on {sys.platform} {platform.machine()}: "
            "plan on Linux, on x86-64 or ARM64, for example in the container image"
        )
    try:
        ask = function(_SYMBOL, _Map, c_void_p)
    except AttributeError:
        raise MeasurementFailed(
            f"this llama.cpp ({binding.version()}) has no {_SYMBOL}: install the "
            "llama-cpp-python that gguf-server asks for"
        ) from None
    found = ask(context.address)
    nodes = list(_walk(found.root))
    assert len(nodes) == found.count  # else it is laid out otherwise, and all was rubbish
    return [_use(node) for node in nodes]


def _walk(pointer: Any) -> Iterator[_Node]:
    if pointer:
        node = pointer.contents
        yield from _walk(node.left)
        yield node
        yield from _walk(node.right)


def _use(node: _Node) -> DeviceUse:
    kind = node.buffer_type
    return DeviceUse(
        name=function("ggml_backend_buft_name", c_char_p, c_void_p)(kind).decode(),
        is_host=_is_host(kind),
        weights_bytes=node.weights,
        cache_bytes=node.cache,
        compute_bytes=node.compute,
    )


def _is_host(kind: int) -> bool:
    """Weights that a CPU repacked are in its memory, though nobody else can read them there."""
    if function("ggml_backend_buft_is_host", c_bool, c_void_p)(kind):
        return True
    device = function("ggml_backend_buft_get_device", c_void_p, c_void_p)(kind)
    return not device or function("ggml_backend_dev_type", c_int, c_void_p)(device) in _HOSTS
