"""Damaged model files: each ends in a served model or one clear line, never in a riddle."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf
import pytest

from tests.e2e.conftest import Serve
from tests.server.engine.llama import tiny_models

ABSURD = [0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
NUM_FILES = 150


@dataclass(frozen=True)
class Place:
    """An integer in a GGUF header."""

    offset: int
    size: int


def header(path: Path) -> list[Place]:
    """Version and counts; of each key its length, type and value; of each tensor everything."""
    reader = gguf.GGUFReader(path)
    places = [Place(4, 4), Place(8, 8), Place(16, 8)]
    for name, field in reader.fields.items():
        if not name.startswith("GGUF."):  # the reader's own
            end = field.offset + 8 + len(name)
            places += [Place(field.offset, 8), Place(end, 4), Place(end + 4, 4), Place(end + 8, 8)]
    for tensor in reader.tensors:
        end = tensor.field.offset + 8 + len(tensor.name)
        dimensions = range(end + 4, end + 4 + 8 * len(tensor.shape), 8)
        places += [Place(tensor.field.offset, 8), Place(end, 4)]
        places += [Place(offset, 8) for offset in dimensions]
        places += [Place(dimensions.stop, 4), Place(dimensions.stop + 4, 8)]
    return places


def damaged(path: Path, seed: int) -> Iterator[tuple[str, bytearray]]:
    """What was done to the file, and what has become of it."""
    good, places = path.read_bytes(), header(path)
    end = max(place.offset + place.size for place in places)
    for number in range(NUM_FILES):
        chance = random.Random(seed * NUM_FILES + number)
        data = bytearray(good)
        match number % 4:
            case 0:
                del data[chance.randrange(chance.choice((end, len(data)))) :]
                yield f"cut after {len(data)} bytes", data
            case 1:
                bits = [chance.randrange(4 * 8, end * 8) for _ in range(chance.randint(1, 4))]
                for bit in bits:
                    data[bit // 8] ^= 1 << bit % 8
                yield f"bits {bits} flipped", data
            case _:
                place = chance.choice(places)
                value = chance.choice(ABSURD if number % 4 == 2 else range(16))
                value %= 1 << 8 * place.size
                data[place.offset : place.offset + place.size] = value.to_bytes(
                    place.size, "little"
                )
                yield f"{value} written at {place}", data


@contextmanager
def engine_forks() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.e2e.engine_forks"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


@pytest.mark.parametrize("kind", ["mixture", "recurrent"])
def test_a_damaged_file_is_served_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    tiny_models.WRITERS[kind](good)
    with engine_forks() as forks:
        assert forks.stdin
        assert forks.stdout
        for damage, data in damaged(good, seed=7):
            bad.write_bytes(data)
            forks.stdin.write(f"{bad}\n")
            forks.stdin.flush()
            assert_is_clear(json.loads(forks.stdout.readline()), bad, damage)


def assert_is_clear(ending: dict[str, str | int | bool], path: Path, damage: str) -> None:
    about = f"{damage}: {ending}"
    code, failure, stderr = ending["code"], str(ending["failure"]), str(ending["stderr"])
    assert "Traceback" not in stderr, about
    if ending["is_ready"]:  # not everything that is damaged matters
        assert code == 0, about
    elif failure:
        assert code == 4, about
        assert failure.startswith(f"Cannot load {path}: "), about
        assert "\n" not in failure, about
    else:
        assert code == -6, about
        assert "GGML_ASSERT(" in stderr.splitlines()[-1], about


def test_a_file_that_makes_llama_cpp_abort_ends_the_command_with_one_line(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "no-layers.gguf"
    tiny_models.write_mixture(path)
    field = gguf.GGUFReader(path).fields["llama.block_count"]
    data = bytearray(path.read_bytes())
    value = field.offset + 8 + len("llama.block_count") + 4
    data[value : value + 4] = bytes(4)
    path.write_bytes(data)
    server = serve(str(path), ready=False)
    assert server.wait_until_ended() == 4
    assert f"cannot load {path}" in server.errors[-1]
    assert "GGML_ASSERT(" in server.errors[-1]
    assert "Traceback" not in "\n".join(server.errors)
