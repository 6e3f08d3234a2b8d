"""The API process never loads llama.cpp: what it cannot call cannot take it down."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import {module}
print([name for name in sys.modules if name.split(".")[0] == "llama_cpp" or ".engine" in name])
"""


@pytest.mark.parametrize("module", ["gguf_server.api.app", "gguf_server.prompt.renderer"])
def test_neither_llama_cpp_nor_the_engine_is_imported(module):
    program = _PROGRAM.format(module=module)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
