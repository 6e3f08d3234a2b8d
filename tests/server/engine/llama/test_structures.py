"""The day llama-cpp-python moves, these fail first: read ggml-backend-impl.h before they pass."""

import importlib.metadata

import pytest

from gguf_server.engine.llama import binding, structures
from gguf_server.engine.llama.breakdown import breakdown
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.errors import MeasurementFailed

MOVED = (
    "llama-cpp-python moved: compare structures.py with ggml-backend-impl.h and ggml.h, cuda.py "
    "with ggml-cuda.cu and fattn.cu, breakdown.py with llama-ext.h, and then this version"
)


def test_the_version_is_the_one_that_the_structures_were_written_for():
    assert importlib.metadata.version("llama-cpp-python") == "0.3.36", MOVED


def test_the_library_has_the_structures_that_are_declared():
    structures.check()


def test_another_version_of_devices_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(structures, "API_VERSION", 3)
    with pytest.raises(MeasurementFailed, match=r"devices of version 2 .* not 3 .* install"):
        structures.check()


def test_tensors_of_another_size_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(structures, "_OBJECT_BYTES", 24)
    with pytest.raises(MeasurementFailed, match="tensors of 344 bytes, not 2 and 336"):
        structures.check()


def test_where_llama_cpp_does_not_tell_its_memory_the_refusal_says_so(
    any_layout: LlamaModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(MeasurementFailed, match="linux riscv64: plan on Linux"):
        breakdown(any_layout.context)


def test_a_llama_cpp_without_the_symbol_is_refused(
    any_layout: LlamaModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gguf_server.engine.llama.breakdown._SYMBOL", "_Z4gone")
    with pytest.raises(MeasurementFailed, match=f"{binding.version()}.* has no _Z4gone"):
        breakdown(any_layout.context)
