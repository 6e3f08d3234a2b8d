"""Where a model runs, and how: what ``gguf-deploy plan`` finds, and everybody else carries out.

A plain JSON document with a version. It names the model's commit: without it, going back to an
earlier deployment could not promise the model.
"""

import msgspec
from msgspec import Struct

from gguf_server.errors import InvalidPlan
from gguf_server.knobs import Knobs
from gguf_server.models.measurement import DeviceUse

VERSION = 1
_COUNTED = ("weights", "KV cache", "compute")  # by llama.cpp itself; other parts are added
_AGAIN = "make it anew: gguf-deploy plan MODEL --format json"


class PlacedModel(Struct, frozen=True, kw_only=True):
    """``reference`` is what to fetch and serve, with its commit: ``org/repo@<commit>:Q8_0``, or a
    path. ``name`` is what the API calls it, as it was asked for. ``commit`` is empty for a file.
    ``active_bytes`` are read for each token.
    """

    reference: str
    name: str
    commit: str
    label: str
    architecture: str
    size_bytes: int
    active_bytes: int
    num_params: int
    num_active_params: int
    num_layers: int
    num_experts: int
    train_context_tokens: int


class PlacedGpu(Struct, frozen=True, kw_only=True):
    """``memory_bytes`` is what the driver reports of one of them."""

    name: str
    count: int
    memory_bytes: int
    modal_name: str


class Part(Struct, frozen=True):
    """What some bytes are for: those of ``counted``, ``CUDA context``, ``headroom``..."""

    name: str
    num_bytes: int


def counted(use: DeviceUse) -> tuple[Part, ...]:
    """The parts that llama.cpp has counted."""
    sizes = (use.weights_bytes, use.cache_bytes, use.compute_bytes)
    return tuple(map(Part, _COUNTED, sizes))


class Need(Struct, frozen=True):
    """Of one device, or of the host: what is needed of what there is."""

    name: str
    there_bytes: int
    parts: tuple[Part, ...]

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    @property
    def counted_bytes(self) -> int:
        """What llama.cpp itself counted of it."""
        return sum(part.num_bytes for part in self.parts if part.name in _COUNTED)

    @property
    def fits(self) -> bool:
        return self.num_bytes <= self.there_bytes


class Stage(Struct, frozen=True):
    """``name`` is ``fetch``, ``process``, ``load``, ``context`` or ``warmup``."""

    name: str
    seconds: float


class Startup(Struct, frozen=True, kw_only=True):
    """How long it takes until it is ready, and the budgets that follow from it.

    ``stages`` are what to expect; ``fetch`` is the init container's or the one-shot service's, and
    is in no probe's budget. ``storage`` is what was assumed.
    """

    storage: str
    stages: tuple[Stage, ...]
    expected_seconds: int
    probe_period_seconds: int
    probe_failure_threshold: int
    progress_deadline_seconds: int
    helm_timeout_seconds: int
    compose_start_period_seconds: int
    modal_startup_timeout_seconds: int


class Speed(Struct, frozen=True, kw_only=True):
    """Upper bounds, by memory bandwidth over the bytes that a token reads. For one stream, and for
    all slots together.
    """

    one_stream_tokens_per_second: float
    all_slots_tokens_per_second: float


class Placement(Struct, frozen=True, kw_only=True):
    """``gpu`` is None on a CPU. ``changes`` are what had to give, a line each; ``price_per_hour``
    is in US dollars, None where unknown. ``llama_cpp`` is the version that counted the bytes.
    """

    version: int = VERSION
    llama_cpp: str
    model: PlacedModel
    gpu: PlacedGpu | None
    knobs: Knobs
    devices: tuple[Need, ...]
    host: Need
    startup: Startup
    speed: Speed | None
    price_per_hour: float | None
    changes: tuple[str, ...] = ()


class _Versioned(Struct):
    version: int


def dumps(placement: Placement) -> str:
    """For people to read, too. ``loads`` gives the same placement back."""
    return msgspec.json.format(msgspec.json.encode(placement), indent=2).decode() + "\n"


def loads(text: str) -> Placement:
    """Raises ``InvalidPlan``, one line. Fields that it does not know are for somebody else."""
    try:
        version = msgspec.json.decode(text, type=_Versioned).version
        if version == VERSION:
            return msgspec.json.decode(text, type=Placement)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        reason = " ".join(str(exc).split())
        msg = f"this is no plan ({reason}); {_AGAIN}"
        raise InvalidPlan(msg) from None
    msg = f"the plan is of version {version}, and this gguf-server knows {VERSION}; {_AGAIN}"
    raise InvalidPlan(msg)
