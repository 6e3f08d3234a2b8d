"""The only module that touches llama.cpp: owned handles, plain values in, plain values out.

llama_cpp is untyped in practice, so its ``Any`` stays here. Every ctypes callback is kept
referenced for as long as llama.cpp may call it.
"""

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec, module_from_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llguidance import LLTokenizer

# The package's own code is left out: it is the high-level API, which brings jinja2, diskcache and
# sqlite3 along, 11 MB and 45 ms of every start.
if "llama_cpp" not in sys.modules and (_spec := find_spec("llama_cpp")):
    sys.modules["llama_cpp"] = module_from_spec(_spec)
from llama_cpp import llama_cpp as _untyped

_lib: Any = _untyped
# Symbols of ggml itself: looked up through libllama, because opening the wheel's other copies
# of the same library by name would load a second, unrelated ggml.
_ggml: Any = _lib._lib  # noqa: SLF001

IntArray = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]
SavedState = npt.NDArray[np.uint8]
Settings = Mapping[str, int | float | bool]

MAX_SEQUENCES: Final = 256
FLASH_ATTENTION: Final = {"auto": -1, "off": 0, "on": 1}
ROPE_SCALING: Final = {"model": -1, "none": 0, "linear": 1, "yarn": 2}
POOLING: Final = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
# enum llama_vocab_type, WPM and UGM: they drop spaces, and an unknown word of any length is one
# token, so the length of a text says little about its tokens.
FOLDING_VOCABULARIES: Final = (3, 4)
# enum ggml_type: llama_cpp lacks bf16.
CACHE_TYPE: Final = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
# enum ggml_backend_dev_type: discrete and integrated.
_GPU_TYPES: Final = (1, 2)
# enum llama_token_attr.
TOKEN_UNKNOWN: Final = 1 << 0
TOKEN_CONTROL: Final = 1 << 3
TOKEN_USER_DEFINED: Final = 1 << 4
TOKEN_STRIPS: Final = 1 << 7 | 1 << 8  # whitespace on its left, on its right
# Never llama_load_mode_from_str with a free string: it throws through ctypes, which aborts.
LOAD_MODE: Final = {
    name: int(_lib.llama_load_mode_from_str(name.encode()))
    for name in ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")
}

_kept: dict[str, Any] = {}


def symbol(name: str) -> Any:
    """A function of llama.cpp's or ggml's that llama_cpp does not declare; callers type it."""
    return _ggml[name]  # not the attribute: that one is shared, and has one set of types


def start(on_log: Callable[[int, str], None], on_abort: Callable[[str], None]) -> None:
    """Initialise llama.cpp once, with its log lines and its last words going to us."""

    def log(level: int, text: bytes | None, _user: object) -> None:
        on_log(level, (text or b"").decode(errors="replace"))

    def abort(message: bytes | None) -> None:
        on_abort((message or b"").decode(errors="replace"))

    log_callback = _lib.llama_log_callback(log)
    abort_callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(abort)
    _lib.llama_log_set(log_callback, None)
    set_abort = _ggml.ggml_set_abort_callback
    set_abort.restype = ctypes.c_void_p
    set_abort(abort_callback)
    _kept["log"], _kept["abort"] = (
        log_callback,
        abort_callback,
    )  # only now drop the old ones
    if "backend" not in _kept:
        _lib.llama_backend_init()
        _kept["backend"] = True


def version() -> str:
    return str(_lib.llama_version().decode())


def devices() -> tuple[str, ...]:
    """What llama.cpp computes on, as ``name: description``."""
    count, get = _ggml.ggml_backend_dev_count, _ggml.ggml_backend_dev_get
    name, description = _ggml.ggml_backend_dev_name, _ggml.ggml_backend_dev_description
    count.restype, get.restype = ctypes.c_size_t, ctypes.c_void_p
    get.argtypes = [ctypes.c_size_t]
    for text in (name, description):
        text.restype, text.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    found = [get(index) for index in range(count())]
    return tuple(f"{name(dev).decode()}: {description(dev).decode()}" for dev in found)


def free_bytes() -> dict[str, int]:
    """Of every device that is no CPU, by its name."""
    memory, kind = symbol("ggml_backend_dev_memory"), symbol("ggml_backend_dev_type")
    count, get = symbol("ggml_backend_dev_count"), symbol("ggml_backend_dev_get")
    name = symbol("ggml_backend_dev_name")
    count.restype, get.restype, name.restype = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
    get.argtypes, memory.restype = [ctypes.c_size_t], None
    for each in (kind, name):
        each.argtypes = [ctypes.c_void_p]
    memory.argtypes = [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    found = {}
    for device in map(get, range(count())):
        if kind(device) in _GPU_TYPES:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            memory(device, free, total)
            found[name(device).decode()] = free.value
    return found


def can_offload() -> bool:
    """Whether this build found a device that can hold layers."""
    return bool(_lib.llama_supports_gpu_offload())


def max_devices() -> int:
    return int(_lib.llama_max_devices())


def _apply(params: Any, settings: Settings) -> Any:
    known = {field[0] for field in params._fields_}
    for name, value in settings.items():
        if name not in known:  # ctypes would accept the misspelling silently
            message = f"llama.cpp has no parameter {name!r}"
            raise AttributeError(message)
        setattr(params, name, value)
    return params


class _BufferOverride(ctypes.Structure):
    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def _cpu_overrides(patterns: Sequence[str]) -> Any:
    cpu_buffer_type = _ggml.ggml_backend_cpu_buffer_type
    cpu_buffer_type.restype = ctypes.c_void_p
    overrides = (_BufferOverride * (len(patterns) + 1))()  # ends with a null pattern
    for override, pattern in zip(overrides, patterns, strict=False):
        override.pattern, override.buffer_type = pattern.encode(), cpu_buffer_type()
    return overrides


class Model:
    """The weights. Frees its adapters with itself; contexts must be closed first."""

    def __init__(self, pointer: int) -> None:
        self._pointer: Any = pointer
        self.vocab = Vocab(_lib.llama_model_get_vocab(pointer))

    @classmethod
    def load(
        cls,
        path: str,
        settings: Settings,
        *,
        tensor_split: Sequence[float],
        cpu_tensors: Sequence[str],
        on_progress: Callable[[float], None],
        devices: Sequence[int] | None = None,
    ) -> "Model | None":
        """None when llama.cpp refused; why is in its log. An exception of ``on_progress`` ends
        the load and comes out here. ``devices`` are addresses; None takes all that there are."""
        raised: list[BaseException] = []

        def progress(fraction: float, _user: object) -> bool:
            try:
                on_progress(fraction)
            except BaseException as exc:  # noqa: BLE001  (must not unwind through C)
                raised.append(exc)
            return not raised

        params = _apply(_lib.llama_model_default_params(), settings)
        params.progress_callback = callback = _lib.llama_progress_callback(progress)
        overrides = _cpu_overrides(cpu_tensors)
        split = (ctypes.c_float * max_devices())(*tensor_split)
        chosen = (ctypes.c_void_p * (len(devices or ()) + 1))(*devices or ())  # ends with null
        if devices is not None:
            params.devices = ctypes.addressof(chosen)
        if cpu_tensors:
            params.tensor_buft_overrides = ctypes.addressof(overrides)
        if tensor_split:
            params.tensor_split = split
        pointer = _lib.llama_model_load_from_file(path.encode(), params)
        del callback, overrides, split, chosen  # llama.cpp borrowed them until here
        if raised:
            raise raised[0]
        return cls(pointer) if pointer else None

    def close(self) -> None:
        if self._pointer:
            _lib.llama_model_free(self._pointer)
            self._pointer = None

    def number(self, name: str) -> int:
        """``llama_model_<name>`` of this model, for functions that return a number or a bool."""
        return int(getattr(_lib, f"llama_model_{name}")(self._pointer))

    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        _lib.llama_model_desc(self._pointer, buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    def metadata(self, key: str) -> str:
        """A scalar of the GGUF header as text, "" when it is not there."""
        buffer = ctypes.create_string_buffer(256)
        _lib.llama_model_meta_val_str(self._pointer, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace")

    def chat_template(self) -> str | None:
        template = _lib.llama_model_chat_template(self._pointer, None)
        return None if template is None else str(template.decode(errors="replace"))

    def new_context(self, settings: Settings) -> "Context | None":
        params = _apply(_lib.llama_context_default_params(), settings)
        pointer = _lib.llama_init_from_model(self._pointer, params)
        return Context(pointer, len(self.vocab)) if pointer else None

    def load_adapter(self, path: str) -> Any:
        """A falsy pointer when llama.cpp refused."""
        return _lib.llama_adapter_lora_init(self._pointer, path.encode())


class Vocab:
    """Token lookups that cross into C; callers cache."""

    def __init__(self, pointer: int) -> None:
        self._pointer: Any = pointer
        self._size = int(_lib.llama_vocab_n_tokens(pointer))

    def __len__(self) -> int:
        return self._size

    def kind(self) -> int:
        """0 when the model carries no tokenizer: every other call would abort."""
        return int(_lib.llama_vocab_type(self._pointer))

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]:
        size = len(text) + 16
        while True:
            tokens = np.empty(size, np.int32)
            address = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            count = _lib.llama_tokenize(
                self._pointer,
                text,
                len(text),
                address,
                size,
                add_special,
                parse_special,
            )
            if count >= 0:
                found: list[int] = tokens[:count].tolist()
                return found
            if count == -(2**31):
                message = f"{len(text)} bytes are more text than llama.cpp can tokenize"
                raise OverflowError(message)
            size = -count

    def guidance_tokenizer(self, pieces: list[bytes], end_tokens: list[int]) -> LLTokenizer:
        """llguidance's view of this vocabulary; it tokenizes by llama.cpp's own function."""
        function = ctypes.cast(_ggml.llama_tokenize, ctypes.c_void_p).value
        make: Any = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]  # not in its stubs
        tokenizer: LLTokenizer = make(
            tokens=pieces,
            vocab_ptr=self._pointer,
            tokenize_fptr=function,
            eos_token=end_tokens,
        )
        return tokenizer

    def piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = _lib.llama_token_to_piece(self._pointer, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def spelling(self, token: int) -> bytes:
        """As it stands in the file; what a text is searched for if the token is special."""
        return bytes(_lib.llama_vocab_get_text(self._pointer, token))

    def attributes(self, token: int) -> int:
        """A set of ``TOKEN_...`` bits."""
        return int(_lib.llama_vocab_get_attr(self._pointer, token))

    def is_end(self, token: int) -> bool:
        return bool(_lib.llama_vocab_is_eog(self._pointer, token))

    def is_control(self, token: int) -> bool:
        """Whether this token is no part of a text."""
        return bool(_lib.llama_vocab_is_control(self._pointer, token))

    def adds_bos(self) -> bool:
        return bool(_lib.llama_vocab_get_add_bos(self._pointer))

    def bos(self) -> int:
        return int(_lib.llama_vocab_bos(self._pointer))

    def eos(self) -> int:
        return int(_lib.llama_vocab_eos(self._pointer))


class Batch:
    """A ``llama_batch`` over numpy arrays; each token belongs to exactly one sequence."""

    def __init__(self, capacity: int) -> None:
        self.token, self.pos, self.seq_id = (np.zeros(capacity, np.int32) for _ in range(3))
        self.output = np.zeros(capacity, np.int8)
        self._ones = np.ones(capacity, np.int32)
        # seq_id[i] of the C struct points at element i of our one array, once and for all.
        self._seq_pointers = self.seq_id.ctypes.data + 4 * np.arange(capacity, dtype=np.uintp)
        self.struct: Any = _lib.llama_batch()
        for name, array in (
            ("token", self.token),
            ("pos", self.pos),
            ("n_seq_id", self._ones),
            ("seq_id", self._seq_pointers),
            ("logits", self.output),
        ):
            kind = type(getattr(self.struct, name))
            setattr(self.struct, name, ctypes.cast(array.ctypes.data, kind))

    def resize(self, num_tokens: int) -> None:
        self.struct.n_tokens = num_tokens


class Context:
    """The KV cache and the compute buffers of one model."""

    def __init__(self, pointer: int, num_vocab_tokens: int) -> None:
        self._pointer: Any = pointer
        self._memory: Any = _lib.llama_get_memory(pointer)
        self._width = num_vocab_tokens
        self.address = pointer  # for functions that llama_cpp does not declare
        self.num_cells = int(_lib.llama_n_ctx(pointer))
        self.num_sequence_cells = int(_lib.llama_n_ctx_seq(pointer))

    def close(self) -> None:
        if self._pointer:
            _lib.llama_free(self._pointer)
            self._pointer = None

    def has_memory(self) -> bool:
        return bool(self._memory)

    def is_causal(self) -> bool:
        return bool(_lib.llama_get_causal_attn(self._pointer))

    def decode(self, batch: Batch) -> int:
        return int(_lib.llama_decode(self._pointer, batch.struct))

    def logits(self, num_rows: int) -> Logits:
        """The outputs of the last batch, one row each in batch order; waits for the device.

        A view into llama.cpp's own buffer: valid, and writable, until the next ``decode``.
        """
        pointer = _lib.llama_get_logits(self._pointer)
        return np.ctypeslib.as_array(pointer, shape=(num_rows, self._width))

    def synchronize(self) -> None:
        _lib.llama_synchronize(self._pointer)

    def set_warmup(self, *, on: bool) -> None:
        """While on, every expert of a mixture computes."""
        _lib.llama_set_warmup(self._pointer, on)

    def set_adapters(self, adapters: Sequence[tuple[Any, float]]) -> None:
        pointers = (_lib.llama_adapter_lora_p_ctypes * len(adapters))(*[a for a, _ in adapters])
        scales = (ctypes.c_float * len(adapters))(*[scale for _, scale in adapters])
        _lib.llama_set_adapters_lora(self._pointer, pointers, len(adapters), scales)

    def forget(self, sequence: int, start: int) -> bool:
        """Drop the cells of ``sequence`` from position ``start`` on."""
        return bool(_lib.llama_memory_seq_rm(self._memory, sequence, start, -1))

    def share(self, source: int, target: int, end: int) -> None:
        """Let ``target`` hold the cells of ``source`` before ``end``; -1 takes all of them."""
        start = 0 if end >= 0 else -1
        _lib.llama_memory_seq_cp(self._memory, source, target, start, end)

    def clear(self) -> None:
        _lib.llama_memory_clear(self._memory, 0)  # the cells, not their data

    def last_position(self, sequence: int) -> int:
        """-1 for an empty sequence."""
        return int(_lib.llama_memory_seq_pos_max(self._memory, sequence))

    def first_position(self, sequence: int) -> int:
        """The oldest position of which no layer has lost its cell; -1 for an empty sequence."""
        return int(_lib.llama_memory_seq_pos_min(self._memory, sequence))

    def state_bytes(self, sequence: int, *, window_only: bool = False) -> int:
        return int(_lib.llama_state_seq_get_size_ext(self._pointer, sequence, int(window_only)))

    def save(self, sequence: int, *, window_only: bool = False) -> SavedState | None:
        """What llama.cpp remembers of ``sequence``; only its sliding windows, if so wanted."""
        state = np.empty(self.state_bytes(sequence, window_only=window_only), np.uint8)
        size = _lib.llama_state_seq_get_data_ext(
            self._pointer, _bytes_of(state), state.nbytes, sequence, int(window_only)
        )
        return state if size == state.nbytes > 0 else None

    def restore(self, sequence: int, state: SavedState, *, window_only: bool = False) -> bool:
        """Replace ``sequence`` by a saved one. After False some of either may be there."""
        size = _lib.llama_state_seq_set_data_ext(
            self._pointer, _bytes_of(state), state.nbytes, sequence, int(window_only)
        )
        return int(size) == state.nbytes

    def encode(self, batch: Batch) -> int:
        return int(_lib.llama_encode(self._pointer, batch.struct))

    def max_tokens(self) -> int:
        """Of one batch that is computed in one piece."""
        return int(_lib.llama_n_ubatch(self._pointer))

    def max_sequences(self) -> int:
        return int(_lib.llama_n_seq_max(self._pointer))

    def pooled(self, sequence: int, size: int) -> Logits:
        """The vector of one sequence of the last batch, copied; waits for the device."""
        pointer = _lib.llama_get_embeddings_seq(self._pointer, sequence)
        copied: Logits = np.ctypeslib.as_array(pointer, shape=(size,)).copy()
        return copied


def _bytes_of(state: SavedState) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
