#!/usr/bin/env python3.11
"""slim.py DIR: leaves out of installed packages what nobody runs, and compiles the rest.

Compiled modules carry the hash of their source, which nobody checks: no clock is in them, and
nothing is compiled when it starts from a read-only file system.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

HOME = "/opt/gguf-server"
COMMANDS = {"gguf-server", "gguf-deploy"}
# What others compile against, and types.
SOURCES = {".c", ".h", ".hpp", ".lib", ".a", ".pxd", ".pxi", ".pyx", ".pyi"}
# Its symbols are five times its code. Libraries patched for their wheel do not survive it.
STRIPPED = ("uvloop",)
# A second, asynchronous copy of the client, see unused.txt; numpy's for building and testing; what
# is for compiling with CUDA, and a BLAS that nobody links to.
UNUSED = (
    "kubernetes/aio",
    "numpy/_core/_*_tests.*.so",
    "numpy/_core/_simd.*.so",
    "numpy/distutils",
    "numpy/f2py",
    "nvidia/cu13/include",
    "nvidia/cu13/lib/cmake",
    "nvidia/cu13/lib/libnvblas.so*",
)
# Generated, and most of it documentation: 58 MB become 19 when only code is left of it.
CODE_ONLY = ("kubernetes/client",)
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main(root: Path) -> None:
    [site] = root.glob("lib/python3*/site-packages")
    remove_unused(site, root)
    for name in STRIPPED:
        for each in sorted(site.glob(f"{name}/**/*.so")):
            subprocess.run(["/usr/bin/strip", "--strip-unneeded", each], check=True)
    for name in CODE_ONLY:
        for each in sorted(site.glob(f"{name}/**/*.py")):
            leave_code(each, name_of(each, root))
    compile_all(site, root)


def remove_unused(site: Path, root: Path) -> None:
    found = {each for pattern in (*UNUSED, "**/tests") for each in site.glob(pattern)}
    found |= {each for each in site.glob("**/*") if each.suffix in SOURCES}
    found |= {*site.glob("**/*_test.py"), *root.glob("include")}
    commands = {each for each in root.glob("bin/*") if not each.name.startswith("python")}
    for each in found | {each for each in commands if each.name not in COMMANDS}:
        if each.is_dir():
            shutil.rmtree(each)
        else:  # perhaps gone with its directory
            each.unlink(missing_ok=True)


def leave_code(source: Path, name: str) -> None:
    target = str(source.with_suffix(".pyc"))
    py_compile.compile(str(source), target, name, True, 2, UNCHECKED)  # noqa: FBT003
    source.unlink()


def compile_all(site: Path, root: Path) -> None:
    if not compileall.compile_dir(
        site, quiet=1, stripdir=str(root), prependdir=HOME, invalidation_mode=UNCHECKED
    ):
        sys.exit("slim.py: not everything compiles")


def name_of(path: Path, root: Path) -> str:
    """Where it will be: what a traceback says."""
    return f"{HOME}/{path.relative_to(root)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
