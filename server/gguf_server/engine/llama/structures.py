"""ggml's structures for devices, as ggml-backend-impl.h and ggml.h declare them at API version 2.

They are what the wheel was compiled with, byte for byte; ``check`` asks the library itself.
"""

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_bool, c_char_p, c_int, c_int64, c_size_t
from typing import Any, Final

from gguf_server.engine.llama import binding
from gguf_server.errors import MeasurementFailed

API_VERSION: Final = 2
_OBJECT_BYTES: Final = 32  # GGML_OBJECT_SIZE, which ggml_tensor_overhead adds to a tensor

_Address = ctypes.c_void_p  # of anything, and functions that ggml does without


class Tensor(Structure):
    _fields_ = (
        ("type", c_int),
        ("buffer", _Address),
        ("ne", c_int64 * 4),
        ("nb", c_size_t * 4),
        ("op", c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", _Address * 10),
        ("view_src", _Address),
        ("view_offs", c_size_t),
        ("data", _Address),
        ("name", ctypes.c_char * 64),
        ("extra", _Address),
        ("padding", ctypes.c_char * 8),
    )


# Texts that we return are addresses: ctypes cannot keep a c_char_p alive that a callback returns.
Name = CFUNCTYPE(_Address, _Address)


class BufferTypeInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("alloc_buffer", CFUNCTYPE(_Address, _Address, c_size_t)),
        ("get_alignment", CFUNCTYPE(c_size_t, _Address)),
        ("get_max_size", _Address),
        ("get_alloc_size", CFUNCTYPE(c_size_t, _Address, _Address)),
        ("is_host", CFUNCTYPE(c_bool, _Address)),
    )


class BufferType(Structure):
    _fields_ = (("iface", BufferTypeInterface), ("device", _Address), ("context", _Address))


class BufferInterface(Structure):
    _fields_ = (
        ("free_buffer", _Address),
        ("get_base", CFUNCTYPE(_Address, _Address)),
        ("init_tensor", _Address),
        ("memset_tensor", _Address),
        ("set_tensor", _Address),
        ("get_tensor", _Address),
        ("set_tensor_2d", _Address),
        ("get_tensor_2d", _Address),
        ("cpy_tensor", _Address),
        ("clear", CFUNCTYPE(None, _Address, ctypes.c_uint8)),
        ("reset", _Address),
    )


class Buffer(Structure):
    _fields_ = (
        ("iface", BufferInterface),
        ("buffer_type", _Address),
        ("context", _Address),
        ("size", c_size_t),
        ("usage", c_int),
    )


class OptimizeParameters(Structure):
    """``add_alloc_dep``: keep a tensor allocated until another one was computed."""

    _fields_ = (
        ("add_alloc_dep", CFUNCTYPE(None, _Address, _Address, _Address)),
        ("user_data", _Address),
    )


class BackendInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("free", CFUNCTYPE(None, _Address)),
        ("set_tensor_async", _Address),
        ("get_tensor_async", _Address),
        ("set_tensor_2d_async", _Address),
        ("get_tensor_2d_async", _Address),
        ("cpy_tensor_async", _Address),
        ("synchronize", CFUNCTYPE(None, _Address)),
        ("graph_plan_create", _Address),
        ("graph_plan_free", _Address),
        ("graph_plan_update", _Address),
        ("graph_plan_compute", _Address),
        ("graph_compute", _Address),
        ("event_record", _Address),
        ("event_wait", _Address),
        ("graph_optimize", CFUNCTYPE(None, _Address, _Address, POINTER(OptimizeParameters))),
    )


class Backend(Structure):
    _fields_ = (
        ("guid", _Address),
        ("iface", BackendInterface),
        ("device", _Address),
        ("context", _Address),
    )


class Event(Structure):
    _fields_ = (("device", _Address), ("context", _Address))


class Capabilities(Structure):
    _fields_ = tuple(
        (name, c_bool)
        for name in ("asynchronous", "host_buffer", "buffer_from_host_ptr", "events", "mmap")
    )


class Properties(Structure):
    _fields_ = (
        ("name", _Address),
        ("description", _Address),
        ("memory_free", c_size_t),
        ("memory_total", c_size_t),
        ("type", c_int),
        ("device_id", _Address),
        ("capabilities", Capabilities),
    )


class DeviceInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("get_description", Name),
        ("get_memory", CFUNCTYPE(None, _Address, POINTER(c_size_t), POINTER(c_size_t))),
        ("get_type", CFUNCTYPE(c_int, _Address)),
        ("get_props", CFUNCTYPE(None, _Address, POINTER(Properties))),
        ("init_backend", CFUNCTYPE(_Address, _Address, c_char_p)),
        ("get_buffer_type", CFUNCTYPE(_Address, _Address)),
        ("get_host_buffer_type", CFUNCTYPE(_Address, _Address)),
        ("buffer_from_host_ptr", _Address),
        ("supports_op", CFUNCTYPE(c_bool, _Address, _Address)),
        ("supports_buft", CFUNCTYPE(c_bool, _Address, _Address)),
        ("offload_op", CFUNCTYPE(c_bool, _Address, _Address)),
        ("event_new", CFUNCTYPE(_Address, _Address)),
        ("event_free", CFUNCTYPE(None, _Address, _Address)),
        ("event_synchronize", CFUNCTYPE(None, _Address, _Address)),
    )


class Device(Structure):
    _fields_ = (("iface", DeviceInterface), ("registry", _Address), ("context", _Address))


class RegistryInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("get_device_count", CFUNCTYPE(c_size_t, _Address)),
        ("get_device", CFUNCTYPE(_Address, _Address, c_size_t)),
        ("get_proc_address", CFUNCTYPE(_Address, _Address, c_char_p)),
    )


class Registry(Structure):
    """A kind of device: CPU, CUDA."""

    _fields_ = (
        ("api_version", c_int),
        ("iface", RegistryInterface),
        ("context", _Address),
    )


def check() -> None:
    """Raises ``MeasurementFailed`` where the library has other structures than these."""
    found = Registry.from_address(function("ggml_backend_reg_get", _Address, c_size_t)(0))
    tensor_bytes = function("ggml_tensor_overhead", c_size_t)() - _OBJECT_BYTES
    if (found.api_version, tensor_bytes) != (API_VERSION, ctypes.sizeof(Tensor)):
        raise MeasurementFailed(
            f"this llama.cpp ({binding.version()}) has devices of version {found.api_version} and "
            f"tensors of {tensor_bytes} bytes, not {API_VERSION} and {ctypes.sizeof(Tensor)}: "
            "install the llama-cpp-python that gguf-server asks for"
        )


def function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml, with its types."""
    found = binding.symbol(name)
    found.restype, found.argtypes = result, arguments
    return found
