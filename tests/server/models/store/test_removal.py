"""Removing leaves a store that is sound, and touches nothing that is not ours."""

from pathlib import Path

import pytest

from gguf_server.models.choice import Wanted
from gguf_server.models.reference import Reference
from gguf_server.models.store.cleaning import Rules, Verdict, judge
from gguf_server.models.store.layout import LEASE_NAME, MANIFEST_NAME, PARTIALS_NAME
from gguf_server.models.store.removal import freed_bytes, remove, undisturbed
from gguf_server.models.store.rests import busy_repositories, foreign_models, partials, rests
from gguf_server.models.store.store import Missing, Stored
from gguf_server.models.transfer.lease import hold
from tests.server.models.store.shelf import Shelf

NOW = 2_000_000_000.0
CONTENTS = {"m-Q8_0.gguf": b"GGUF eight" * 1000, "m-Q4_K_M.gguf": b"GGUF four" * 1000}
REPO = Reference("org/repo")
EVERYTHING = Rules(older_than_seconds=0)
ONLY_Q8 = Rules(keep_quantizations=("Q8_0",))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


def judged(shelf: Shelf, rules: Rules) -> list[Verdict]:
    """At a time when nothing was used lately."""
    busy = busy_repositories(shelf.store)
    return judge(shelf.store.revisions(), rests(shelf.store, busy), busy, rules, NOW)


def paths(shelf: Shelf) -> set[str]:
    root = shelf.store.root
    return {str(each.relative_to(root)) for each in root.rglob("*")}


def test_a_model_goes_and_the_other_of_its_revision_is_still_served(shelf: Shelf) -> None:
    directory = shelf.put(CONTENTS, chat_template=b"{{ messages }}")
    assert remove(shelf.store, judged(shelf, ONLY_Q8)) == []
    assert not (directory / "m-Q4_K_M.gguf").exists()
    assert isinstance(shelf.store.find(REPO, Wanted()), Stored)
    gone = shelf.store.find(REPO, Wanted(("Q4_K_M",)))
    assert gone == Missing("Q4_K_M of org/repo is not here, only Q8_0")


def test_the_last_model_takes_its_revision_with_it_and_the_empty_directories(shelf: Shelf) -> None:
    shelf.put(CONTENTS, chat_template=b"{{ messages }}")
    assert remove(shelf.store, judged(shelf, EVERYTHING)) == []
    assert paths(shelf) == set()
    assert shelf.store.root.is_dir(), "the model directory itself is the user's"


def test_what_is_not_ours_stays(shelf: Shelf) -> None:
    directory = shelf.put(CONTENTS)
    foreign = [
        directory / "notes.txt",
        directory.parent / "mine.gguf",
        shelf.store.root / "old-Q4_0.gguf",
        shelf.store.root / "org" / "repo" / "not-a-commit" / MANIFEST_NAME,
        shelf.store.root / "lost+found" / "x",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    assert remove(shelf.store, judged(shelf, EVERYTHING)) == []
    assert not (directory / "m-Q8_0.gguf").exists()
    assert all(path.read_text() == "precious" for path in foreign)
    assert {path.name for path, _ in foreign_models(shelf.store)} == {"mine.gguf", "old-Q4_0.gguf"}


def test_a_link_to_a_directory_elsewhere_is_not_followed(shelf: Shelf, tmp_path: Path) -> None:
    elsewhere = Shelf(tmp_path / "elsewhere")
    elsewhere.put(CONTENTS)
    shelf.store.root.mkdir()
    (shelf.store.root / "org").symlink_to(elsewhere.store.root / "org")
    assert judged(shelf, EVERYTHING) == []
    assert isinstance(elsewhere.store.find(REPO, Wanted()), Stored)


def test_rests_of_a_fetch_go(shelf: Shelf) -> None:
    repository = shelf.store.root / "org" / "repo"
    partial = repository / PARTIALS_NAME / "x.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"half")
    unpublished = repository / ("d" * 40) / "m-Q8_0.gguf"
    shelf.store.begin(unpublished.parent)
    unpublished.write_bytes(b"whole")
    assert [each.path for each in partials(shelf.store)] == [partial]
    verdicts = judged(shelf, Rules())
    assert {each.rest.path for each in verdicts if each.rest} == {partial, unpublished.parent}
    assert remove(shelf.store, verdicts) == []
    assert paths(shelf) == set()


def test_a_repository_that_is_being_fetched_is_left_alone(shelf: Shelf) -> None:
    directory = shelf.put(CONTENTS)
    (directory.parent / PARTIALS_NAME).mkdir()
    (directory.parent / PARTIALS_NAME / "x").write_bytes(b"half")
    with hold(directory.parent / LEASE_NAME, lambda _: None):
        assert busy_repositories(shelf.store) == {"org/repo"}
        assert [each.goes for each in judged(shelf, EVERYTHING)] == [False, False]
        with undisturbed(shelf.store) as busy:
            assert busy == {"org/repo"}
    assert busy_repositories(shelf.store) == frozenset()


def test_no_fetch_starts_while_something_is_removed(shelf: Shelf) -> None:
    directory = shelf.put(CONTENTS)
    with undisturbed(shelf.store) as busy:
        assert busy == frozenset()
        assert busy_repositories(shelf.store) == {"org/repo"}
        remove(shelf.store, judge(shelf.store.revisions(), [], busy, EVERYTHING, NOW))
        assert directory.parent.exists()
    assert paths(shelf) == set()


def test_the_bytes_that_are_freed_are_those_of_no_other_name(shelf: Shelf) -> None:
    shelf.put(CONTENTS)
    other = shelf.put({"m-Q8_0.gguf": b"x"}, commit="e" * 40)
    (other / "m-Q8_0.gguf").unlink()
    (other / "m-Q8_0.gguf").hardlink_to(
        shelf.store.revision_directory("org/repo", "a" * 40) / "m-Q8_0.gguf"
    )
    [*_, four, eight] = sorted(
        path.stat().st_blocks * 512 for path in shelf.store.root.rglob("m-*.gguf")
    )
    verdicts = judged(shelf, EVERYTHING)
    assert freed_bytes(verdicts) == four + eight
    first = [each for each in verdicts if each.revision and "a" in each.revision.manifest.commit]
    assert freed_bytes(first) < four + eight, "the other name keeps the file"


def test_a_model_that_changed_since_it_was_judged_is_judged_by_its_manifest(shelf: Shelf) -> None:
    directory = shelf.put(CONTENTS)
    verdicts = judged(shelf, EVERYTHING)
    (directory / MANIFEST_NAME).unlink()
    assert remove(shelf.store, verdicts) == []
    assert (directory / "m-Q8_0.gguf").exists(), "it is a rest now"


def test_what_cannot_be_removed_is_said_and_the_others_go(shelf: Shelf, monkeypatch) -> None:
    stuck = shelf.put(CONTENTS, repository="org/stuck")
    other = shelf.put(CONTENTS, repository="org/other")
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if stuck in self.parents:
            raise PermissionError(1, "Operation not permitted", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    complaints = remove(shelf.store, judged(shelf, EVERYTHING))
    assert f"{stuck}/{MANIFEST_NAME} cannot be removed: Operation not permitted" in complaints
    assert not other.exists()
    assert any(stuck.iterdir())
