"""GPUs that are not there: devices of ggml that answer as CUDA's do, and hold nothing.

llama.cpp divides layers among them, chooses where each operation runs and adds up what that takes.
Nothing may be loaded or computed on them. ggml cannot forget a device, so a process has its
simulated GPUs for good.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from gguf_server.engine.llama import cuda
from gguf_server.engine.llama.structures import (
    Backend,
    Buffer,
    BufferInterface,
    BufferType,
    Device,
    Event,
    Properties,
    Registry,
    Tensor,
    check,
    function,
)
from gguf_server.models.measurement import SimulatedGpu

# Where all buffers seem to be. Addresses in it are computed, never used.
_BASE: Final = 1 << 40
_GPU: Final = 1  # GGML_BACKEND_DEVICE_TYPE_GPU
_HOST_ALIGNMENT_BYTES: Final = 32

_kept: list[Any] = []  # what ggml has pointers to


def register(gpus: Sequence[SimulatedGpu]) -> tuple[int, ...]:
    """Addresses of new devices, for ``binding.Model.load``; call it once.

    Raises ``MeasurementFailed`` where llama.cpp is not the one that this was written for.
    """
    check()
    _hold_no_host_memory()
    if not gpus:
        return ()
    registry, devices = Registry(), [Device() for _ in gpus]
    addresses = tuple(ctypes.addressof(device) for device in devices)
    _kept.append((registry, devices))
    host = _buffer_type("CUDA_Host", addresses[0], is_host=True)
    types = [
        _buffer_type(f"CUDA{index}", address, is_host=False)
        for index, address in enumerate(addresses)
    ]
    for index, (device, gpu) in enumerate(zip(devices, gpus, strict=True)):
        _fill_device(device, index, gpu, types, host)
        device.registry = ctypes.addressof(registry)
    _fill_registry(registry, addresses)
    for address in addresses:
        function("ggml_backend_device_register", None, ctypes.c_void_p)(address)
    return addresses


def _set(structure: Any, **functions: Callable[..., Any]) -> None:
    """Fill a table of functions; ggml calls them as long as the process lives."""
    kinds = dict(structure._fields_)
    for name, each in functions.items():
        callback = kinds[name](each)
        _kept.append(callback)
        setattr(structure, name, callback)


def _text(value: str) -> int:
    buffer = ctypes.create_string_buffer(value.encode())
    _kept.append(buffer)
    return ctypes.addressof(buffer)


# --- the kind of device ------------------------------------------------------------------------


def _fill_registry(registry: Registry, devices: Sequence[int]) -> None:
    name = _text("CUDA")
    registry.api_version = Registry.from_address(
        function("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)(0)
    ).api_version
    _set(
        registry.iface,
        get_name=lambda _registry: name,
        get_device_count=lambda _registry: len(devices),
        get_device=lambda _registry, index: devices[index],
        get_proc_address=lambda _registry, _name: None,
    )


# --- devices -----------------------------------------------------------------------------------


def _fill_device(
    device: Device, index: int, gpu: SimulatedGpu, types: Sequence[int], host: int
) -> None:
    name, description = _text(f"CUDA{index}"), _text(gpu.name)
    mine, others = types[index], {*types} - {types[index]}

    def memory(_device: int, free: Any, total: Any) -> None:
        free[0], total[0] = gpu.free_bytes, gpu.total_bytes

    def properties(_device: int, target: Any) -> None:
        found = target.contents
        found.name, found.description, found.type = name, description, _GPU
        found.memory_free, found.memory_total = gpu.free_bytes, gpu.total_bytes
        _allow(found)

    def supports(_device: int, address: int) -> bool:
        operation = Tensor.from_address(address)
        return not _sources(operation) & others and cuda.supports(operation)

    _set(
        device.iface,
        get_name=lambda _device: name,
        get_description=lambda _device: description,
        get_memory=memory,
        get_type=lambda _device: _GPU,
        get_props=properties,
        init_backend=lambda address, _parameters: _backend(address, name),
        get_buffer_type=lambda _device: mine,
        get_host_buffer_type=lambda _device: host,
        supports_op=supports,
        supports_buft=lambda _device, buffer_type: buffer_type == mine,
        offload_op=lambda _device, address: cuda.wants(Tensor.from_address(address)),
        event_new=_event,
        event_free=lambda _device, event: _events.pop(event),
        event_synchronize=lambda _device, _event: None,
    )


def _allow(properties: Properties) -> None:
    """As CUDA does. Pipelining several GPUs depends on it, and with that their memory."""
    capabilities = properties.capabilities
    capabilities.asynchronous = capabilities.host_buffer = capabilities.events = True
    capabilities.mmap, capabilities.buffer_from_host_ptr = True, False


def _sources(operation: Tensor) -> set[int]:
    """The buffer types that its sources are in already."""
    found = set()
    for address in operation.src:
        if address and (buffer := Tensor.from_address(address).buffer):
            found.add(Buffer.from_address(buffer).buffer_type)
    return found


_backends: dict[int, Backend] = {}
_events: dict[int, Event] = {}


def _backend(device: int, name: int) -> int:
    backend = Backend()
    address = ctypes.addressof(backend)
    backend.guid, backend.device = _text(" " * 16), device
    _set(
        backend.iface,
        get_name=lambda _backend: name,
        free=_backends.pop,
        synchronize=lambda _backend: None,
        graph_optimize=_optimize,
    )
    _backends[address] = backend
    return address


def _optimize(_backend: int, graph: int, parameters: Any) -> None:
    """As CUDA does where it needs more memory; nothing is reordered."""
    hold, data = parameters.contents.add_alloc_dep, parameters.contents.user_data
    for tensor, until in cuda.held(graph):
        hold(data, tensor, until)


def _event(device: int) -> int:
    event = Event(device, None)
    _events[ctypes.addressof(event)] = event
    return ctypes.addressof(event)


# --- buffers -----------------------------------------------------------------------------------


def _buffer_type(name: str, device: int, *, is_host: bool) -> int:
    """The address of a new one."""
    kind = BufferType(device=device)
    _kept.append(kind)
    text = _text(name)
    alignment = _HOST_ALIGNMENT_BYTES if is_host else cuda.ALIGNMENT_BYTES
    _set(
        kind.iface,
        get_name=lambda _type: text,
        alloc_buffer=_allocate,
        get_alignment=lambda _type: alignment,
        is_host=lambda _type: is_host,
    )
    if not is_host:
        _set(kind.iface, get_alloc_size=lambda _type, tensor: cuda.needed_bytes(tensor))
    return ctypes.addressof(kind)


@contextmanager
def without_host_memory() -> Iterator[None]:
    """llama.cpp really allocates recurrent states, and clears them, whatever it was told: for this
    time not in the CPU's memory. Raises ``MeasurementFailed`` as ``register``.
    """
    check()
    interface = _cpu_interface()
    before = ctypes.cast(interface.alloc_buffer, ctypes.c_void_p).value
    _hold_no_host_memory()
    try:
        yield
    finally:
        interface.alloc_buffer = dict(interface._fields_)["alloc_buffer"](before)


def _hold_no_host_memory() -> None:
    _set(_cpu_interface(), alloc_buffer=_allocate)


def _cpu_interface() -> Any:
    address = function("ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
    return BufferType.from_address(address).iface


def _allocate(buffer_type: int, size_bytes: int) -> int:
    """A buffer that ggml owns and that has no memory."""
    make = function(
        "ggml_backend_buffer_init",
        ctypes.c_void_p,
        ctypes.c_void_p,
        BufferInterface,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    return int(make(buffer_type, _buffer_interface(), None, size_bytes))


@cache
def _buffer_interface() -> BufferInterface:
    interface = BufferInterface()
    _set(interface, get_base=lambda _buffer: _BASE, clear=lambda _buffer, _value: None)
    return interface
