"""Is there room for the model? Asked of llama.cpp before the weights are read.

An allocation that fails would say so minutes later, after 18 GB have been read, and without what to
do about it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gguf_server.engine.host_memory import read_host_memory
from gguf_server.engine.llama import binding, parameters
from gguf_server.engine.llama.devices import without_host_memory
from gguf_server.engine.llama.measure import measure
from gguf_server.errors import DoesNotFit, StartupError
from gguf_server.knobs import Knobs
from gguf_server.models.measurement import DeviceUse, Measurement, Question
from gguf_server.models.sizes import gibibytes
from gguf_server.wire.messages import EngineConfig

_log = logging.getLogger("gguf_server.engine")
_TOLERANCE = 0.01  # of what a plan counted
_MAPPED_MODES = ("auto", "mmap")
_MAPPED = ("CPU", "CUDA_Host")  # in those modes pages of the file, which can be read again


def check_room(config: EngineConfig) -> None:
    """Raises ``DoesNotFit``. What cannot be measured is left to the load, which says why."""
    try:
        with _quietly(), without_host_memory():
            measurement = measure(_question(config), parameters.devices(config))
    except StartupError as exc:
        _log.info("whether the model fits was not checked: %s", exc.message)
        return
    _compare(measurement, config.planned_bytes)
    shortages = list(_shortages(measurement, is_mapped=config.load_mode in _MAPPED_MODES))
    for line in shortages:
        _log.error("%s", line)
    if shortages:
        raise DoesNotFit(
            f"{config.model_path} does not fit: {shortages[0]}; take fewer --slots, a smaller"
            " --context or another quantization (gguf-deploy plan says what fits), or try all the"
            " same with --memory-check off"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """What there is to remark upon, the load will."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _question(config: EngineConfig) -> Question:
    knobs = {name: getattr(config, name) for name in Knobs.__struct_fields__}
    return Question(config.model_path, Knobs(**knobs))


def _shortages(measurement: Measurement, *, is_mapped: bool) -> Iterator[str]:
    """``CUDA0 needs 19.3 GiB and has 15.1 GiB: weights 18.1, KV cache 0.9, compute 0.3``"""
    free = binding.free_bytes()
    for use in measurement.devices:
        if not use.is_host and use.num_bytes > free.get(use.name, use.num_bytes):
            yield _words(use, free[use.name])
    host = _host(measurement, is_mapped=is_mapped)
    room = read_host_memory(busy_cache=True).free
    if host.num_bytes > room:
        yield _words(host, room)


def _host(measurement: Measurement, *, is_mapped: bool) -> DeviceUse:
    """What must stay in host memory. Weights that are mapped from the file need not."""
    uses = [use for use in measurement.devices if use.is_host]
    return DeviceUse(
        name="the host",
        is_host=True,
        weights_bytes=sum(
            use.weights_bytes for use in uses if not (is_mapped and use.name in _MAPPED)
        ),
        cache_bytes=sum(use.cache_bytes for use in uses),
        compute_bytes=measurement.output_bytes + sum(use.compute_bytes for use in uses),
    )


def _words(use: DeviceUse, free_bytes: int) -> str:
    return (
        f"{use.name} needs {gibibytes(use.num_bytes)} and has {gibibytes(free_bytes)} free"
        f" (weights {gibibytes(use.weights_bytes)}, KV cache {gibibytes(use.cache_bytes)},"
        f" compute {gibibytes(use.compute_bytes)})"
    )


def _compare(measurement: Measurement, planned: tuple[int, ...]) -> None:
    """With a plan that was made elsewhere, perhaps with another llama.cpp."""
    counted = [use for use in measurement.devices if not use.is_host]
    if planned and len(planned) != len(counted):
        _log.warning("the plan is for %d GPUs, and %d are here", len(planned), len(counted))
    for use, num_bytes in zip(counted, planned, strict=False):
        if abs(use.num_bytes - num_bytes) > _TOLERANCE * num_bytes:
            _log.warning(
                "%s needs %s here, and %s in the plan",
                use.name,
                gibibytes(use.num_bytes),
                gibibytes(num_bytes),
            )
