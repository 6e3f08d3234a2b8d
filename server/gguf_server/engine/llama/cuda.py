"""What CUDA's backend computes and what it needs room for, as ggml-cuda.cu has it.

A device that claims more than that would be given operations that the real one leaves to the CPU,
and buffers would be counted in the wrong memory. GPUs are taken for Turing or newer. Operations
that no language model uses are missing: those count as not supported, as CUDA's unknown ones do.
"""

from collections.abc import Callable, Iterator, Sequence
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Final

from gguf_server.engine.llama.structures import Tensor, function

ALIGNMENT_BYTES: Final = 128
_ROW_ELEMENTS: Final = 512  # MATRIX_ROW_PADDING, of quantized rows
_COPY_ALIGNMENT_BYTES: Final = 128
_LEAST_BATCH: Final = 32  # GGML_OP_OFFLOAD_MIN_BATCH
_CELL_UNIT: Final = 256  # FATTN_KQ_STRIDE
_EXACT: Final = 10  # GGML_PREC_F32
_MOST_EXPERTS: Final = 15  # MOE_WEIGHTED_REDUCTION_MAX_EXPERTS

_REAL: Final = frozenset({"f32", "f16", "bf16"})
_QUANTIZED: Final = frozenset(
    """q1_0 q2_0 q4_0 q4_1 q5_0 q5_1 q8_0 mxfp4 nvfp4 q2_K q3_K q4_K q5_K q6_K q8_K iq1_m iq1_s
    iq2_s iq2_xs iq2_xxs iq3_s iq3_xxs iq4_nl iq4_xs""".split()  # noqa: SIM905  (shorter so)
)
_CACHED: Final = _REAL | {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"}
_STORED: Final = _CACHED | {"iq4_nl"}
# Rows of these are looked up in units of 256.
_UNEVEN: Final = frozenset({"iq4_nl", "mxfp4"})
_LOOKED_UP: Final = (_REAL | _QUANTIZED | {"i32"}) - {"nvfp4", "q8_K"}
_CONTIGUOUS: Final = "ggml_is_contiguous"
_CONTIGUOUS_ROWS: Final = "ggml_is_contiguous_rows"

Rule = Callable[[Tensor], bool]


def supports(operation: Tensor) -> bool:
    """Whether CUDA computes it. Where its data are is another question."""
    rule = _RULES.get(_operation_name(operation.op))
    return rule is not None and rule(operation)


def wants(operation: Tensor) -> bool:
    """Whether it is worth fetching weights from the host for."""
    name = _operation_name(operation.op)
    if name == "GET_ROWS":
        return False
    if name == "MUL_MAT":
        return bool(operation.ne[1] >= _LEAST_BATCH)
    if name in ("MUL_MAT_ID", "ROPE"):
        return bool(operation.ne[2] >= _LEAST_BATCH)
    return bool(operation.ne[1] * operation.ne[2] * operation.ne[3] >= _LEAST_BATCH)


def needed_bytes(address: int) -> int:
    """Of a tensor, with what its kernels want behind it."""
    tensor = Tensor.from_address(address)
    size = _size_bytes(address)
    if _operation_name(tensor.op) == "FLASH_ATTN_EXT":
        size = _attention_bytes(tensor, size)
    if _is_quantized(tensor.type) and tensor.ne[0] % _ROW_ELEMENTS:
        size += _row_bytes(tensor.type, _ROW_ELEMENTS - tensor.ne[0] % _ROW_ELEMENTS)
    return size


def held(graph: int) -> Iterator[tuple[int, int]]:
    """Tensors that stay until another one was computed, for the kernels that fuse what is between.

    Of those only the sum over the experts of a token is of a size that matters.
    """
    count = function("ggml_graph_n_nodes", c_int, c_void_p)(graph)
    node = function("ggml_graph_node", c_void_p, c_void_p, c_int)
    nodes = [node(graph, index) for index in range(count)]
    for index, address in enumerate(nodes):
        product = Tensor.from_address(address)
        if _operation_name(product.op) == "MUL" and _weighs_experts(product):
            rest = nodes[index + 1 : index + 2 * product.ne[1]]
            if _adds_up(address, rest, product.ne[1]):
                yield from ((product.src[part], rest[-1]) for part in range(2))


def _weighs_experts(product: Tensor) -> bool:
    """Each of some experts' vectors, times one number."""
    vectors, weights = _source(product, 0), _source(product, 1)
    is_weight = weights.ne[0] == 1 and vectors.ne[0] > 1
    same = [*vectors.ne][1:] == [*weights.ne][1:] and _type_name(product.type) == "f32"
    return is_weight and same and 1 < product.ne[1] <= _MOST_EXPERTS


def _adds_up(product: int, rest: Sequence[int], num_experts: int) -> bool:
    """Views of it, one for each expert, and the additions of those."""
    tensors = [Tensor.from_address(address) for address in rest]
    views = [each for each in tensors if each.view_src == product]
    names = [_operation_name(each.op) for each in tensors]
    return len(views) == num_experts and names.count("ADD") == num_experts - 1


# --- flash attention -------------------------------------------------------------------------


def _attention_bytes(operation: Tensor, size_bytes: int) -> int:
    """With copies in F16 of keys and values, whole, unless they are F16 already.

    The kernel that needs none computes a single token at a time.
    """
    query, key, value = (_source(operation, index) for index in range(3))
    if query.ne[1] == 1 and _is_quantized(key.type) and _is_quantized(value.type):
        return size_bytes
    is_view = bool(value.view_src) and value.view_src in (operation.src[1], key.view_src)
    copied = [key] if is_view and value.view_offs == key.view_offs else [key, value]
    for tensor in copied:
        if _type_name(tensor.type) != "f16":
            size_bytes += -size_bytes % _COPY_ALIGNMENT_BYTES + 2 * _num_elements(tensor)
    return size_bytes


def _attends(operation: Tensor) -> bool:
    """``ggml_cuda_get_best_fattn_kernel`` finds one."""
    query, key, value = (_source(operation, index) for index in range(3))
    if not {_type_name(key.type), _type_name(value.type)} <= _CACHED:
        return False
    mask = Tensor.from_address(operation.src[3]) if operation.src[3] else None
    if mask is not None and mask.ne[2] != 1:
        return False
    size, value_size, num_shared = key.ne[0], value.ne[0], query.ne[2] // key.ne[2]
    if size in (40, 64, 72, 80, 96, 112, 128, 256):
        return bool(value_size == size)
    is_biased = bool(operation.op_params[1])  # ALiBi
    is_whole = key.ne[1] % _CELL_UNIT == 0
    groups = num_shared > 1 and mask is not None and not is_biased and is_whole
    wanted = {192: (128, 8), 320: (256, 32), 512: (512, 1), 576: (512, 1)}.get(size)
    return groups and wanted is not None and value_size == wanted[0] and not num_shared % wanted[1]


# --- the other operations --------------------------------------------------------------------


def _always(_operation: Tensor) -> bool:
    return True


def _first(check: str) -> Rule:
    """The first source satisfies this function of ggml's."""
    return lambda operation: bool(_check(check)(operation.src[0]))


def _multiplies(operation: Tensor) -> bool:
    weights, values = _source(operation, 0), _source(operation, 1)
    kind = _type_name(weights.type)
    if _type_name(values.type) == "f16" and kind != "f16":
        return False
    return kind in _REAL | _QUANTIZED


def _sets(operation: Tensor) -> bool:
    both = (_source(operation, index) for index in range(2))
    kinds = {_type_name(each.type) for each in (operation, *both)}
    return kinds in ({"f32"}, {"i32"})


def _looks_up(operation: Tensor) -> bool:
    rows = _source(operation, 0)
    kind = _type_name(rows.type)
    return kind in _LOOKED_UP and not (kind in _UNEVEN and rows.ne[0] % 256)


def _stores(operation: Tensor) -> bool:
    source, target = (_type_name(each) for each in (_source(operation, 0).type, operation.type))
    return (source == "f32" and target in _STORED) or source == target == "f16"


def _copies(operation: Tensor) -> bool:
    source, target = (_type_name(_source(operation, index).type) for index in range(2))
    if {source, target} <= _REAL or {source, target} <= {"f32", "i32"}:
        return True
    if source == "f32":
        return target in _STORED
    if target == "f32":
        return source in _CACHED
    contiguous = _check(_CONTIGUOUS)
    return source == target and all(contiguous(operation.src[index]) for index in range(2))


def _real(operation: Tensor) -> bool:
    kinds = {_type_name(operation.type), _type_name(_source(operation, 0).type)}
    return kinds <= _REAL


def _sums(operation: Tensor) -> bool:
    kind = _type_name(_source(operation, 0).type)
    return kind == "f32" and bool(_check(_CONTIGUOUS_ROWS)(operation.src[0]))


def _repeats(operation: Tensor) -> bool:
    return _type_name(_source(operation, 0).type) in ("f32", "f16")


def _concatenates(operation: Tensor) -> bool:
    kinds = {operation.type, _source(operation, 0).type, _source(operation, 1).type}
    return len(kinds) == 1 and not _is_quantized(operation.type)


def _convolves(operation: Tensor) -> bool:
    return bool(_source(operation, 0).ne[1] % 128 == 0)


def _scans(operation: Tensor) -> bool:
    """Mamba 2, else Mamba."""
    state, decay = _source(operation, 0), _source(operation, 3)
    if decay.ne[0] == 1:
        return state.ne[0] in (96, 128, 256) and state.ne[1] % 16 == 0
    num_groups = _source(operation, 4).ne[1]
    return (state.ne[0], state.ne[1], num_groups) == (16, 1, 1) and state.ne[2] % 128 == 0


_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(
        """NONE RESHAPE VIEW PERMUTE TRANSPOSE ADD_ID ADD1 SQR SQRT SIN COS CLAMP LOG DUP ARGMAX
        CONT DIAG_MASK_INF SOFT_MAX ARGSORT TOP_K PAD ARANGE CUMSUM TRI DIAG FILL SOLVE_TRI
        RWKV_WKV6 RWKV_WKV7 GATED_LINEAR_ATTN GATED_DELTA_NET LIGHTNING_INDEXER DSV4_HC_COMB
        DSV4_HC_PRE DSV4_HC_POST LEAKY_RELU ROLL POOL_2D""".split(),  # noqa: SIM905  (shorter so)
        _always,
    ),
    **dict.fromkeys(("NORM", "RMS_NORM", "L2_NORM", "SUM"), _first(_CONTIGUOUS_ROWS)),
    "MUL_MAT": _multiplies,
    "MUL_MAT_ID": lambda operation: _multiplies(operation) and operation.op_params[3] != _EXACT,
    "SET": _sets,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "SCALE"), _real),
    **dict.fromkeys(("SUM_ROWS", "MEAN"), _sums),
    **dict.fromkeys(("UNARY", "GROUP_NORM"), _first(_CONTIGUOUS)),
    "GLU": _first("ggml_is_contiguous_1"),
    "ROPE": _first("ggml_is_contiguous_2"),
    "GET_ROWS": _looks_up,
    "SET_ROWS": _stores,
    "CPY": _copies,
    "REPEAT": _repeats,
    "CONCAT": _concatenates,
    "SSM_CONV": _convolves,
    "SSM_SCAN": _scans,
    "FLASH_ATTN_EXT": _attends,
}


# --- ggml ------------------------------------------------------------------------------------


def _source(operation: Tensor, index: int) -> Tensor:
    return Tensor.from_address(operation.src[index])


def _num_elements(tensor: Tensor) -> int:
    return int(tensor.ne[0] * tensor.ne[1] * tensor.ne[2] * tensor.ne[3])


@cache
def _operation_name(number: int) -> str:
    return str(function("ggml_op_name", c_char_p, c_int)(number).decode())


@cache
def _type_name(number: int) -> str:
    return str(function("ggml_type_name", c_char_p, c_int)(number).decode())


@cache
def _is_quantized(number: int) -> bool:
    return bool(function("ggml_is_quantized", c_bool, c_int)(number))


@cache
def _row_bytes(number: int, num_elements: int) -> int:
    return int(function("ggml_row_size", c_size_t, c_int, c_int64)(number, num_elements))


@cache
def _check(name: str) -> Callable[[int], bool]:
    """A question to ggml about the layout of the tensor at an address."""
    found: Callable[[int], bool] = function(name, c_bool, c_void_p)
    return found


@cache
def _sizes() -> Callable[[int], int]:
    found: Callable[[int], int] = function("ggml_nbytes", c_size_t, c_void_p)
    return found


def _size_bytes(address: int) -> int:
    return int(_sizes()(address))
