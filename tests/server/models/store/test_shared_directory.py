"""Whoever may write into the model directory has us write, read and remove nothing elsewhere."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gguf_server.errors import StorageUnusable
from gguf_server.models.choice import Wanted
from gguf_server.models.fetch import fetch
from gguf_server.models.reference import Reference
from gguf_server.models.store.cleaning import Rules, judge
from gguf_server.models.store.layout import MANIFEST_NAME, PARTIALS_NAME, USED_NAME
from gguf_server.models.store.manifest import Manifest, StoredFile, StoredModel, write_manifest
from gguf_server.models.store.removal import remove
from gguf_server.models.store.rests import busy_repositories, foreign_models, rests, unreadable
from gguf_server.models.store.store import Store
from tests.server.models.shop import Shop
from tests.server.models.store.shelf import Shelf

FAR_FUTURE = 9e9
COMMIT = "a" * 40
REPO = Reference("org/repo")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory elsewhere."""
    path = tmp_path / "victim"
    path.mkdir()
    (path / "precious").write_bytes(b"precious")
    return path


@pytest.fixture(autouse=True)
def _nothing_elsewhere_changes(victim: Path) -> Any:
    yield
    assert [each.name for each in victim.iterdir()] == ["precious"]
    assert (victim / "precious").read_bytes() == b"precious"


def clean(store: Store) -> None:
    """With rules by which everything goes."""
    busy = busy_repositories(store)
    rules = Rules(older_than_seconds=0)
    verdicts = judge(store.revisions(), rests(store, busy), busy, rules, FAR_FUTURE)
    assert remove(store, verdicts) == []


def put_manifest(store: Store, *paths: str, **about: Any) -> Path:
    """One that names these files."""
    directory = store.revision_directory("org/repo", COMMIT)
    directory.mkdir(parents=True)
    manifest = Manifest(
        repository="org/repo",
        commit=COMMIT,
        revisions={"main": 1.0},
        listing=(),
        models=(StoredModel("Q8_0", paths, 8),),
        files=tuple(StoredFile(path, 8, "0" * 64, 0) for path in paths),
    )
    write_manifest(directory, msgspec.structs.replace(manifest, **about))
    return directory


@pytest.mark.parametrize(
    "path", ["../../../../victim/precious", "/victim/precious", "a/../../x", "a\0b", ".used"]
)
def test_a_manifest_whose_paths_lead_elsewhere_is_none(store: Store, path: str) -> None:
    directory = put_manifest(store, path)
    assert store.revisions() == []
    assert [each.path for each in unreadable(store)] == [directory]
    clean(store)
    assert (directory / MANIFEST_NAME).exists()


@pytest.mark.parametrize(
    "about", [{"models": (StoredModel("Q8_0", (), 8),)}, {"format": 2}, {"commit": "b" * 40}]
)
def test_a_manifest_that_makes_no_sense_here_is_none_and_stays(
    store: Store, about: dict[str, Any]
) -> None:
    directory = put_manifest(store, "m.gguf", **about)
    (directory / "m.gguf").write_bytes(b"GGUF")
    assert store.revisions() == []
    clean(store)
    assert (directory / "m.gguf").exists()
    assert foreign_models(store) == []


def test_a_pipe_instead_of_a_manifest_is_not_read(store: Store) -> None:
    directory = store.revision_directory("org/repo", COMMIT)
    directory.mkdir(parents=True)
    (directory / USED_NAME).touch()
    os.mkfifo(directory / MANIFEST_NAME)
    assert store.revisions() == []


def test_files_behind_a_link_are_not_removed(store: Store, victim: Path) -> None:
    directory = put_manifest(store, "sub/precious")
    (directory / "sub").symlink_to(victim)
    clean(store)
    assert not (directory / MANIFEST_NAME).exists()


def test_partial_files_behind_a_link_are_not_removed(store: Store, victim: Path) -> None:
    (store.root / "org" / "repo").mkdir(parents=True)
    (store.root / "org" / "repo" / PARTIALS_NAME).symlink_to(victim)
    assert rests(store, frozenset()) == []
    clean(store)


def test_what_other_tools_keep_by_commit_is_not_ours(store: Store) -> None:
    """The cache of the hub's own library looks so."""
    snapshot = store.root / "models--meta--llama" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.gguf").write_bytes(b"GGUF")
    clean(store)
    assert foreign_models(store) == [(snapshot / "model.gguf", len(b"GGUF"))]


# --- fetching ----------------------------------------------------------------------------------


@pytest.fixture
def commit(shop: Shop) -> str:
    """Of a repository with a model in a folder."""
    files = {"sub/m-Q8_0.gguf": shop.model(), "config.json": shop.text("{}")}
    return shop.offer("org/repo", files).refs["main"]


@pytest.mark.parametrize("place", ["", "org", "org/repo", "org/repo/{}", "org/repo/{}/sub"])
def test_a_fetch_does_not_write_through_links(
    store: Store, commit: str, victim: Path, place: str
) -> None:
    link = store.root / place.format(commit)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim if place else store.root.with_name("elsewhere"))
    if not place:  # the model directory itself may be a link
        link.readlink().mkdir()
        assert fetch(REPO, Wanted(), store, report=lambda _: None).path.exists()
        return
    with pytest.raises(StorageUnusable, match=f"{link} is a link; only {store.root} itself may"):
        fetch(REPO, Wanted(), store, report=lambda _: None)


def test_a_fetch_does_not_write_into_a_file_that_a_partial_points_at(
    store: Store, commit: str, victim: Path
) -> None:
    repository = store.root / "org" / "repo"
    fetch(REPO, Wanted(), store, report=lambda _: None)
    [revision] = store.revisions()
    [model] = revision.files_of(["sub/m-Q8_0.gguf"])
    (revision.directory / model.path).unlink()
    partial = repository / PARTIALS_NAME / f"{model.sha256}.deadbeef"
    partial.symlink_to(victim / "precious")
    fetch(REPO, Wanted(), store, report=lambda _: None)
    assert partial.is_symlink()
    assert commit


def test_the_stamp_does_not_touch_what_it_points_at(shelf: Shelf, victim: Path) -> None:
    directory = shelf.put({"m-Q8_0.gguf": b"GGUF"})
    (directory / USED_NAME).unlink(missing_ok=True)
    (directory / USED_NAME).symlink_to(victim / "new")
    assert not shelf.store.stamp(directory)


@pytest.fixture
def shelf(store: Store) -> Shelf:
    return Shelf(store.root)
