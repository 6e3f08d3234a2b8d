"""What CUDA computes, by its own rules: tensors are made here, nothing is registered."""

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from gguf_server.engine.llama import cuda
from gguf_server.engine.llama.structures import Tensor

Shape = Sequence[int]
Source = tuple[str, Shape]  # a type and a shape, innermost first
BLOCKS = {"f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "i32": (1, 4), "q8_0": (32, 34)}
_kept: list[Tensor] = []


def number(name: str, names=cuda._operation_name) -> int:
    return next(each for each in count() if names(each) == name)


def tensor(kind: str, shape: Shape) -> Tensor:
    """Contiguous, without data."""
    whole = (*shape, 1, 1, 1, 1)[:4]
    elements, size = BLOCKS.get(kind, (32, 18))
    made = Tensor(type=number(kind, cuda._type_name))
    strides = [size, size * whole[0] // elements]
    strides += [strides[1] * whole[1], strides[1] * whole[1] * whole[2]]
    for axis in range(4):
        made.ne[axis], made.nb[axis] = whole[axis], strides[axis]
    _kept.append(made)
    return made


def operation(name: str, result: Source, *sources: Source | Tensor) -> Tensor:
    made = tensor(*result)
    made.op = number(name)
    for index, source in enumerate(sources):
        given = source if isinstance(source, Tensor) else tensor(*source)
        made.src[index] = ctypes.addressof(given)
    return made


def attention(kind: str, size: int, value_size: int, *, heads: int = 32, shared: int = 8) -> Tensor:
    """Of 512 tokens to 1024 cells, with a mask."""
    return operation(
        "FLASH_ATTN_EXT",
        ("f32", (value_size, heads, 512)),
        ("f32", (size, 512, heads)),
        (kind, (size, 1024, shared)),
        (kind, (value_size, 1024, shared)),
        ("f16", (1024, 512)),
    )


@pytest.mark.parametrize(
    ("made", "is_supported"),
    [
        (operation("MUL_MAT", ("f32", (8, 4)), ("q4_K", (256, 8)), ("f32", (256, 4))), True),
        (operation("MUL_MAT", ("f32", (8, 4)), ("tq1_0", (256, 8)), ("f32", (256, 4))), False),
        (operation("MUL_MAT", ("f32", (8, 4)), ("q8_0", (256, 8)), ("f16", (256, 4))), False),
        (operation("MUL_MAT", ("f32", (8, 4)), ("f16", (256, 8)), ("f16", (256, 4))), True),
        (operation("GET_ROWS", ("f32", (256, 4)), ("q4_K", (256, 8)), ("i32", (4,))), True),
        (operation("GET_ROWS", ("f32", (256, 4)), ("iq4_nl", (256, 8)), ("i32", (4,))), True),
        (operation("GET_ROWS", ("f32", (288, 4)), ("iq4_nl", (288, 8)), ("i32", (4,))), False),
        (operation("SET_ROWS", ("iq4_nl", (256, 8)), ("f32", (256, 4)), ("i32", (4,))), True),
        (operation("SET_ROWS", ("q4_K", (256, 8)), ("f32", (256, 4)), ("i32", (4,))), False),
        (operation("CPY", ("f16", (8,)), ("f32", (8,)), ("f16", (8,))), True),
        (operation("CPY", ("q4_K", (256,)), ("f32", (256,)), ("q4_K", (256,))), False),
        (operation("CPY", ("i32", (8,)), ("f16", (8,)), ("i32", (8,))), False),
        (operation("CPY", ("q4_K", (256,)), ("q4_K", (256,)), ("q4_K", (256,))), True),
        (operation("ADD", ("f32", (8,)), ("f32", (8,)), ("f32", (8,))), True),
        (operation("ADD", ("q8_0", (32,)), ("q8_0", (32,)), ("f32", (32,))), False),
        (operation("CONCAT", ("f32", (8, 2)), ("f32", (8,)), ("f16", (8,))), False),
        (operation("SUM_ROWS", ("f32", (1, 4)), ("f32", (8, 4))), True),
        (operation("SUM_ROWS", ("f16", (1, 4)), ("f16", (8, 4))), False),
        (operation("REPEAT", ("i32", (8,)), ("i32", (4,))), False),
        (operation("SSM_CONV", ("f32", (256, 4)), ("f32", (7, 256)), ("f32", (4, 256))), True),
        (operation("SSM_CONV", ("f32", (200, 4)), ("f32", (7, 200)), ("f32", (4, 200))), False),
        (operation("SOFT_MAX", ("f32", (8,)), ("f32", (8,))), True),
        (operation("SET", ("f32", (8,)), ("f32", (8,)), ("f32", (8,))), True),
        (operation("SET", ("f32", (8,)), ("f32", (8,)), ("i32", (8,))), False),
        (operation("SET", ("f16", (8,)), ("f16", (8,)), ("f16", (8,))), False),
        (operation("WIN_PART", ("f32", (8,)), ("f32", (8,))), False),
    ],
)
def test_an_operation_is_computed_or_left_to_the_cpu(made: Tensor, is_supported: bool):
    assert cuda.supports(made) == is_supported


def test_experts_of_full_precision_are_left_to_the_cpu():
    made = operation("MUL_MAT_ID", ("f32", (8, 4)), ("q4_K", (256, 8)), ("f32", (256, 4)))
    assert cuda.supports(made)
    made.op_params[3] = 10  # GGML_PREC_F32
    assert not cuda.supports(made)


def test_what_is_no_row_after_row_is_not_normalized():
    source = tensor("f32", (8, 4))
    assert cuda.supports(operation("UNARY", ("f32", (8, 4)), source))
    source.nb[1] *= 2
    assert not cuda.supports(operation("UNARY", ("f32", (8, 4)), source))
    assert cuda.supports(operation("RMS_NORM", ("f32", (8, 4)), source))
    source.nb[0] *= 2
    assert not cuda.supports(operation("RMS_NORM", ("f32", (8, 4)), source))


@pytest.mark.parametrize(
    ("made", "is_supported"),
    [
        (attention("f16", 128, 128), True),
        (attention("q8_0", 128, 128), True),
        (attention("iq4_nl", 128, 128), False),
        (attention("f16", 128, 64), False),
        (attention("f16", 136, 136), False),
        (attention("f16", 576, 512, heads=128, shared=1), True),
        (attention("f16", 576, 512, heads=8, shared=8), False),
        (attention("f16", 192, 128, heads=32, shared=4), True),
        (attention("f16", 192, 128, heads=32, shared=8), False),
        (attention("f16", 512, 512, heads=32, shared=8), True),
    ],
)
def test_attention_is_computed_for_heads_that_have_a_kernel(made: Tensor, is_supported: bool):
    assert cuda.supports(made) == is_supported


def test_wide_heads_need_whole_blocks_of_cells_and_no_bias():
    made = attention("f16", 512, 512)
    made.op_params[1] = 1  # the largest bias, as bits of a float
    assert not cuda.supports(made)
    made = attention("f16", 512, 512)
    Tensor.from_address(made.src[1]).ne[1] = 1000
    assert not cuda.supports(made)


def scan(state: Shape, decay: Shape, groups: int = 1) -> Tensor:
    sources = [("f32", state), ("f32", (1,)), ("f32", (1,)), ("f32", decay)]
    return operation("SSM_SCAN", ("f32", (1,)), *sources, ("f32", (16, groups)))


@pytest.mark.parametrize(
    ("made", "is_supported"),
    [
        (scan((128, 64, 128), (1, 128)), True),
        (scan((64, 64, 128), (1, 128)), False),
        (scan((128, 8, 128), (1, 128)), False),
        (scan((16, 1, 5120), (16, 5120)), True),
        (scan((16, 1, 5000), (16, 5000)), False),
        (scan((16, 1, 5120), (16, 5120), groups=2), False),
    ],
)
def test_states_are_scanned_in_the_sizes_that_have_a_kernel(made: Tensor, is_supported: bool):
    assert cuda.supports(made) == is_supported


def test_weights_are_fetched_for_32_tokens_and_never_for_a_look_up():
    few, many = (
        operation("MUL_MAT", ("f32", (8, tokens)), ("f32", (16, 8)), ("f32", (16, tokens)))
        for tokens in (31, 32)
    )
    assert (cuda.wants(few), cuda.wants(many)) == (False, True)
    rows = operation("GET_ROWS", ("f32", (8, 512)), ("f32", (8, 900)), ("i32", (512,)))
    assert not cuda.wants(rows)
    mixed = operation("MUL_MAT_ID", ("f32", (8, 64, 31)), ("f32", (16, 8)), ("f32", (16, 64, 31)))
    assert not cuda.wants(mixed)
    assert cuda.wants(operation("ADD", ("f32", (8, 4, 8)), ("f32", (8,))))


def needed(made: Tensor) -> int:
    return cuda.needed_bytes(ctypes.addressof(made))


def test_attention_over_a_quantized_cache_makes_room_for_copies():
    plain, quantized = attention("f16", 128, 128), attention("q8_0", 128, 128)
    assert needed(plain) == 4 * 128 * 32 * 512
    assert needed(quantized) == needed(plain) + 2 * 2 * 128 * 1024 * 8


def test_values_that_are_seen_in_the_keys_are_copied_with_them():
    made = attention("q8_0", 576, 512, heads=128, shared=1)
    Tensor.from_address(made.src[2]).view_src = made.src[1]
    assert needed(made) == 4 * 512 * 128 * 512 + 2 * 576 * 1024


def test_a_single_token_needs_no_copies():
    made = attention("q8_0", 128, 128)
    Tensor.from_address(made.src[0]).ne[1] = 1
    assert needed(made) == 4 * 128 * 32 * 512


def test_rows_of_quantized_tensors_are_padded_to_512_elements():
    assert needed(tensor("q8_0", (512, 3))) == 3 * 512 * 34 // 32
    assert needed(tensor("q8_0", (544, 3))) == 3 * 544 * 34 // 32 + 480 * 34 // 32
    assert needed(tensor("f16", (500, 3))) == 3000


OTHERS_DATA = """
import ctypes
from gguf_server.engine.llama import binding
from gguf_server.engine.llama.devices import register
from gguf_server.engine.llama.structures import Buffer, Device, function
from gguf_server.models.measurement import SimulatedGpu
from tests.server.engine.llama.test_cuda import operation, tensor

binding.start(lambda level, line: None, print)
ours, other = register((SimulatedGpu("a", 9, 5), SimulatedGpu("b", 9, 5)))
weights = tensor("f32", (16, 8))
made = operation("MUL_MAT", ("f32", (8, 4)), weights, ("f32", (16, 4)))
ask = function("ggml_backend_dev_supports_op", ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)
kind = function("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
for device in (ours, other):
    buffer = Buffer(buffer_type=kind(device))
    weights.buffer = ctypes.addressof(buffer)
    print(*(ask(each, ctypes.addressof(made)) for each in (ours, other)))
"""


def test_a_gpu_computes_nothing_with_what_another_one_holds():
    """In a process of its own: ggml would never forget these devices."""
    command = (sys.executable, "-c", OTHERS_DATA)
    root = Path(__file__).parents[4]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=root)
    assert done.stdout == "True False\nFalse True\n"
