"""Files that are there already are used, whoever put them there."""

import os
from pathlib import Path
from typing import Any

import pytest

from gguf_server.models.store import adoption
from gguf_server.models.store.adoption import adopt
from gguf_server.models.transfer.hashing import matches
from tests.server.models.store.shelf import Shelf, remote

CONTENT = b"GGUF model" * 100


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


def target(shelf: Shelf) -> Path:
    return shelf.store.revision_directory("org/repo", "f" * 40) / "m-Q8_0.gguf"


def test_a_file_of_the_old_flat_layout_is_linked_and_stays(shelf: Shelf) -> None:
    flat = shelf.store.root / "renamed.gguf"
    flat.parent.mkdir(parents=True)
    flat.write_bytes(CONTENT)
    assert adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))
    assert target(shelf).read_bytes() == CONTENT
    assert target(shelf).samefile(flat)


def test_one_of_the_same_size_but_other_bytes_is_not(shelf: Shelf) -> None:
    flat = shelf.store.root / "m-Q8_0.gguf"
    flat.parent.mkdir(parents=True)
    flat.write_bytes(b"x" * len(CONTENT))
    assert not adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))
    assert not target(shelf).exists()
    assert flat.read_bytes() == b"x" * len(CONTENT)


def test_what_another_manifest_says_of_a_file_is_not_believed(shelf: Shelf) -> None:
    directory = shelf.put({"m-Q8_0.gguf": CONTENT}, repository="evil/repo")
    path = directory / "m-Q8_0.gguf"
    time_ns = path.stat().st_mtime_ns
    path.write_bytes(b"evil model" * 100)
    os.utime(path, ns=(time_ns, time_ns))
    assert not adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))
    assert not target(shelf).exists()


def test_a_file_that_cannot_be_read_is_passed_over(shelf: Shelf, monkeypatch) -> None:
    for name in ("a", "b"):
        (shelf.store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (shelf.store.root / name).write_bytes(CONTENT)

    def partly(path: Path, *rest: Any) -> bool:
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return matches(path, *rest)

    monkeypatch.setattr(adoption, "matches", partly)
    assert adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))
    assert target(shelf).samefile(shelf.store.root / "b")


def test_a_name_as_long_as_names_can_be_is_adopted(shelf: Shelf) -> None:
    flat = shelf.store.root / "flat.gguf"
    flat.parent.mkdir(parents=True)
    flat.write_bytes(CONTENT)
    long = target(shelf).with_name("m" * 250 + ".gguf")
    assert adopt(shelf.store, remote(long.name, CONTENT), long)


def test_a_verified_file_of_other_content_is_not_read_either(shelf: Shelf, monkeypatch) -> None:
    shelf.put({"m-Q8_0.gguf": b"y" * len(CONTENT)})
    monkeypatch.setattr(adoption, "matches", lambda *_: pytest.fail("it was read"))
    assert not adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))


def test_what_a_killed_fetch_had_finished_is_taken(shelf: Shelf) -> None:
    target(shelf).parent.mkdir(parents=True)
    target(shelf).write_bytes(CONTENT)
    assert adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))


def test_what_has_not_wholly_arrived_is_no_candidate(shelf: Shelf) -> None:
    partial = shelf.store.root / "org" / "repo" / ".partial" / "x"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT)
    assert not adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))


def test_without_hard_links_a_symbolic_one_will_do(shelf: Shelf, monkeypatch) -> None:
    flat = shelf.store.root / "m.gguf"
    flat.parent.mkdir(parents=True)
    flat.write_bytes(CONTENT)

    def refused(self: Path, _: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    assert adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))
    assert target(shelf).is_symlink()
    assert not Path(target(shelf).readlink()).is_absolute()
    assert target(shelf).read_bytes() == CONTENT
