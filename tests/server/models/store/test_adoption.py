"""Files that are there already are used, whoever put them there."""

from pathlib import Path

import pytest

from gguf_server.models.store import adoption
from gguf_server.models.store.adoption import adopt
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


def test_a_verified_file_of_another_commit_is_not_even_read(shelf: Shelf, monkeypatch) -> None:
    shelf.put({"m-Q8_0.gguf": CONTENT})
    monkeypatch.setattr(adoption, "matches", lambda *_: pytest.fail("it was read"))
    assert adopt(shelf.store, remote("m-Q8_0.gguf", CONTENT), target(shelf))
    assert target(shelf).read_bytes() == CONTENT


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
