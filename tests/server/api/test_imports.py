"""What a process does not import, it need not wait for, and cannot be taken down by."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import {module}
print(*{names} & ({{each.split(".")[0] for each in sys.modules}} | set(sys.modules)))
"""


def imported(module: str, *names: str) -> str:
    """Which of ``names`` come along with ``module``."""
    program = _PROGRAM.format(module=module, names=set(names))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["gguf_server.api.http", "gguf_server.prompt.renderer"])
def test_neither_llama_cpp_nor_the_engine_is_imported(module):
    """The API process never loads llama.cpp: what it cannot call cannot take it down."""
    assert imported(module, "llama_cpp", "gguf_server.engine") == ""


def test_what_starts_the_engine_does_not_import_the_web_framework():
    assert imported("gguf_server.serve", "fastapi", "starlette", "uvicorn") == ""


def test_the_engine_imports_llama_cpps_functions_and_not_what_is_built_on_them():
    assert imported("gguf_server.engine.__main__", "llama_cpp.llama", "jinja2", "sqlite3") == ""
    assert imported("gguf_server.engine.__main__", "llama_cpp.llama_cpp") == "llama_cpp.llama_cpp"
