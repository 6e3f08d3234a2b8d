"""What a model needs, by llama.cpp's own count: the question to a measuring process, the answer."""

from msgspec import Struct

from gguf_server.knobs import Knobs


class SimulatedGpu(Struct, frozen=True):
    """A GPU that is not there. llama.cpp divides layers by ``free_bytes``."""

    name: str
    total_bytes: int
    free_bytes: int


class Topology(Struct, frozen=True):
    """The first line to a measuring process: what GPUs it has beside the CPU."""

    gpus: tuple[SimulatedGpu, ...] = ()


class Question(Struct, frozen=True):
    """One line each. The file may be a header with a hole of the right size behind it.

    ``num_gpus`` are used, the first of the topology; None means all, 0 the CPU alone.
    """

    model_path: str
    knobs: Knobs
    num_gpus: int | None = None


class DeviceUse(Struct, frozen=True):
    """Bytes of one kind of memory. ``name`` is llama.cpp's: ``CUDA0``, ``CUDA_Host``, ``CPU``.

    ``cache_bytes`` are keys, values and recurrent states; ``compute_bytes`` the buffers that
    graphs are computed in.
    """

    name: str
    is_host: bool
    weights_bytes: int
    cache_bytes: int
    compute_bytes: int

    @property
    def num_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.compute_bytes


class Measurement(Struct, frozen=True, kw_only=True, tag=True):
    """The answer. ``output_bytes`` is the buffer for logits and embeddings, in host memory, which
    is in no device's count. ``context_tokens`` is what one sequence can hold.
    """

    devices: tuple[DeviceUse, ...]
    output_bytes: int
    num_layers: int
    context_tokens: int
    train_context_tokens: int
    generates: bool
    llama_cpp: str


class Unmeasurable(Struct, frozen=True, tag=True):
    """llama.cpp refused, in one line for people."""

    message: str


Answer = Measurement | Unmeasurable
