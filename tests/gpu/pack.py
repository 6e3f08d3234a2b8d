"""`gpu-check --pack DIR`: all that a machine without a network needs for a check.

Wheels for its Python, a wheel of llama-cpp-python or its source, a tokenizer, the commit. CUDA's
own libraries are not in it (cuBLAS alone has half a gigabyte): where there is a compiler they are.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from gguf_server.settings.serve import Settings
from tests.bench.servers import ROOT
from tests.gpu.vocabulary import read, save

PIECE_BYTES = 40 << 20
NEWEST_GLIBC = 39  # 2.39, of Ubuntu 24.04
# Large, and only for the hub and for clusters.
LEFT_OUT = ("hf_xet", "kubernetes")
# Of the server's own needs nothing; tests.gguf_files reads with it.
MORE = ("gguf",)
BUILD = ("scikit-build-core", "packaging", "pathspec")
# Of the source: the rest is a build with neither tools nor models, without its history.
_UNUSED = (
    *(".git/", ".github/", "docs/", "examples/", "tests/"),
    *(
        f"vendor/llama.cpp/{each}/"
        for each in """app benches conversion docs examples gguf-py grammars media models pocs
        requirements scripts skills tests tools""".split()  # noqa: SIM905  (shorter so)
    ),
)


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work, whole = Path(folder), Path(folder) / "pack.tar.xz"
        content = work / "content"
        fill(content, work, options)
        with tarfile.open(whole, "w:xz", preset=3) as archive:
            archive.add(content, ".")
        pieces = split(whole, options.pack, options.piece_bytes)
    for piece in pieces:
        print(f"{piece}: {piece.stat().st_size / 1e6:.1f} MB")
    return 0


def fill(content: Path, work: Path, options: argparse.Namespace) -> None:
    wheels = content / "wheels"
    wheels.mkdir(parents=True)
    for wheel in _download(work / "downloaded", options.python):
        store(wheel, wheels / wheel.name)
    if options.wheel:
        store(options.wheel, wheels / options.wheel.name)
    else:
        prune(_source(work / "source"), content / "source.tar")
    save(read(options.vocabulary), content / "vocabulary.gguf")
    (content / "commit").write_text(_commit() + "\n")


def store(wheel: Path, target: Path) -> None:
    """The same wheel, not compressed: it is compressed with all others, by half as much again."""
    with ZipFile(wheel) as source, ZipFile(target, "w", ZIP_STORED) as copy:
        for info in source.infolist():
            data = source.read(info)
            info.compress_type = ZIP_STORED
            copy.writestr(info, data)


def prune(source: Path, target: Path) -> None:
    """A tenth of the source is compiled."""
    with tarfile.open(source) as whole, tarfile.open(target, "w") as kept:
        for member in whole:
            inside = member.name.partition("/")[2]
            if not inside.startswith(_UNUSED):
                kept.addfile(member, whole.extractfile(member) if member.isreg() else None)


def split(whole: Path, folder: Path, piece_bytes: int) -> list[Path]:
    """Pieces are named so that ``cat`` puts them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("pack.*"):
        old.unlink()
    pieces: list[Path] = []
    with whole.open("rb") as file:
        while data := file.read(piece_bytes):
            pieces.append(folder / f"pack.{len(pieces):02}")
            pieces[-1].write_bytes(data)
    return pieces


def _download(target: Path, python: str) -> list[Path]:
    """Locked versions, checked by their hashes."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(5, NEWEST_GLIBC + 1)]
    platforms += ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
    tags = ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:"]
    tags += [word for each in platforms for word in ("--platform", each)]
    more = target.with_suffix(".txt")
    more.write_text(locked("dev", MORE) + locked("build", BUILD))
    for lock in (ROOT / "locks/run.txt", more):
        _pip("download", "--no-deps", "--require-hashes", *tags, "-d", target, "-r", lock)
    return [each for each in sorted(target.iterdir()) if not each.name.startswith(LEFT_OUT)]


def locked(lock: str, names: tuple[str, ...]) -> str:
    """These packages' own entries of a lock, hashes included."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text().replace("\\\n", "")
    wanted = tuple(f"{name}==" for name in names)
    found = [line for line in text.splitlines() if line.startswith(wanted)]
    assert len(found) == len(names), (lock, names)
    return "\n".join(found) + "\n"


def _source(target: Path) -> Path:
    """What pip asks a source for needs its build backend."""
    subprocess.run([ROOT / "scripts/new-venv", target / "venv"], check=True)
    python = target / "venv/bin/python"
    _pip("install", "--require-hashes", "-r", ROOT / "locks/build.txt", python=python)
    exact = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes"]
    _pip("download", *exact, "-d", target, "-r", ROOT / "locks/source.txt", python=python)
    [found] = target.glob("llama_cpp_python-*.tar.gz")
    return found


def _pip(*words: str | Path, python: Path = Path(sys.executable)) -> None:
    subprocess.run([python, "-m", "pip", *words, "--quiet"], check=True, stdout=sys.stderr)


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    add = parser.add_argument
    add("--pack", type=Path, required=True, metavar="DIR", help="the pieces are written there")
    add("--wheel", type=Path, metavar="FILE", help="of llama-cpp-python; else its source is packed")
    add("--python", default="3.12", metavar="X.Y", help="of the machine without a network")
    add("--piece-bytes", type=int, default=PIECE_BYTES, metavar="N", help="at most")
    add("--vocabulary", type=Path, default=Settings().source, metavar="FILE", help="a GGUF file")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
