#!/usr/bin/env python3.11
"""slim.py DIR: leaves out of installed packages what nobody runs, and compiles the rest.

Compiled modules carry the hash of their source, which nobody checks: no clock is in them, and a
read-only file system is as fast as any.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

# A second, asynchronous copy of the client, as large as the first; nobody imports it.
UNUSED = ("kubernetes/aio",)
# What others compile against, and types.
SOURCES = {".c", ".h", ".hpp", ".lib", ".a", ".pxd", ".pxi", ".pyx", ".pyi"}


def main(root: Path) -> None:
    [site] = root.glob("lib/python3*/site-packages")
    for name in UNUSED:
        shutil.rmtree(site / name, ignore_errors=True)
    for each in sorted(site.glob("**/tests")):
        shutil.rmtree(each)
    for each in sorted(site.glob("**/*")):
        if each.suffix in SOURCES or each.name.endswith("_test.py"):
            each.unlink()
        elif ".so" in each.suffixes:
            subprocess.run(["/usr/bin/strip", "--strip-unneeded", each], check=True)
    compile_all(site, root)


def compile_all(site: Path, root: Path) -> None:
    compiled = compileall.compile_dir(
        site,
        quiet=1,
        stripdir=str(root),
        prependdir="/opt/gguf-server",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        sys.exit("slim.py: not everything compiles")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
