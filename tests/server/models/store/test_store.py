"""What may be served from a model directory, and what not."""

import os
import time
from pathlib import Path

import pytest

from gguf_server.models.choice import Wanted
from gguf_server.models.meter import Meter
from gguf_server.models.progress import Progress
from gguf_server.models.reference import Reference
from gguf_server.models.store.layout import MANIFEST_NAME
from gguf_server.models.store.store import Missing, Store, Stored
from tests.server.models.store.shelf import Shelf

MODELS = {"m-Q8_0.gguf": b"GGUF eight" * 9, "m-Q4_K_M.gguf": b"GGUF four" * 5}
REPO = Reference("org/repo")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def found(shelf: Shelf, reference: Reference = REPO, wanted: Wanted | None = None) -> Stored:
    result = shelf.store.find(reference, wanted or Wanted())
    assert isinstance(result, Stored), result
    return result


def reason(shelf: Shelf, reference: Reference = REPO, wanted: Wanted | None = None) -> str:
    result = shelf.store.find(reference, wanted or Wanted())
    assert isinstance(result, Missing)
    return result.reason


def test_what_was_published_is_found(shelf: Shelf) -> None:
    directory = shelf.put(MODELS)
    result = found(shelf)
    assert result.path == directory / "m-Q8_0.gguf"
    assert (result.label, result.size_bytes) == ("Q8_0", 90)
    assert found(shelf, wanted=Wanted(("Q4_K_M",))).path == directory / "m-Q4_K_M.gguf"


def test_the_choice_is_the_one_the_hub_would_lead_to(shelf: Shelf) -> None:
    shelf.put(MODELS, present=("m-Q4_K_M.gguf",))
    assert reason(shelf) == "Q8_0 of org/repo is not here, only Q4_K_M"
    assert found(shelf, wanted=Wanted(("Q4_K_M",))).label == "Q4_K_M"


def test_an_empty_or_foreign_directory_holds_nothing(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "old-Q8_0.gguf").write_bytes(b"GGUF")
    (tmp_path / "org" / "repo" / ("c" * 40)).mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert reason(shelf) == f"org/repo was never fetched into {tmp_path}"
    assert Store(tmp_path / "nowhere").revisions() == []


def test_a_manifest_in_another_place_is_not_believed(shelf: Shelf, tmp_path: Path) -> None:
    directory = shelf.put(MODELS)
    directory.rename(directory.with_name("d" * 40))
    assert shelf.store.revisions() == []


def test_a_branch_means_the_commit_that_the_hub_named_last(shelf: Shelf) -> None:
    shelf.put(MODELS, commit="a" * 40, revisions={"main": 5.0, "v1": 5.0})
    shelf.put(MODELS, commit="b" * 40, revisions={"main": 9.0})
    assert found(shelf).commit == "b" * 40
    assert found(shelf, Reference("org/repo", "v1")).commit == "a" * 40
    assert found(shelf, Reference("org/repo", "a" * 40)).commit == "a" * 40
    assert found(shelf, Reference("org/repo", "a" * 7)).commit == "a" * 40
    assert "only main, v1" in reason(shelf, Reference("org/repo", "v2"))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: path.write_bytes(b"short"), "broken"),
        (lambda path: path.unlink(), "gone"),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "broken"),
    ],
)
def test_a_broken_file_is_never_served(shelf: Shelf, spoil, word) -> None:
    path = shelf.put(MODELS) / "m-Q8_0.gguf"
    spoil(path)
    assert reason(shelf) == f"{path} is {word}"
    assert found(shelf, wanted=Wanted(("Q4_K_M",))).label == "Q4_K_M"


def test_a_restored_volume_is_read_once_and_believed_again(shelf: Shelf) -> None:
    path = shelf.put(MODELS) / "m-Q8_0.gguf"
    os.utime(path, ns=(1, 1))
    assert found(shelf).label
    [revision] = shelf.store.revisions()
    [file] = revision.files_of(["m-Q8_0.gguf"])
    assert file.modified_ns == path.stat().st_mtime_ns


def test_a_clock_that_was_ahead_once_does_not_pin_the_old_commit(shelf: Shelf) -> None:
    ahead = time.time() + 300 * 86_400
    shelf.put(MODELS, commit="a" * 40, revisions={"main": ahead})
    now = shelf.store.named_now("org/repo", "main")
    shelf.put(MODELS, commit="b" * 40, revisions={"main": now})
    assert found(shelf).commit == "b" * 40


def test_how_far_the_reading_of_a_touched_file_is_can_be_seen(shelf: Shelf) -> None:
    path = shelf.put(MODELS) / "m-Q8_0.gguf"
    os.utime(path, ns=(1, 1))
    seen: list[Progress] = []
    assert isinstance(shelf.store.find(REPO, Wanted(), Meter(seen.append)), Stored)
    assert [(each.stage, each.detail, each.total_bytes) for each in seen if each.total_bytes] == [
        ("check", "m-Q8_0.gguf", 90)
    ]


def test_a_damaged_manifest_is_named(shelf: Shelf) -> None:
    directory = shelf.put(MODELS)
    (directory / MANIFEST_NAME).write_text("{")
    assert reason(shelf) == f"{directory / MANIFEST_NAME} is damaged or of a later version"


def test_a_fetched_template_belongs_to_the_model(shelf: Shelf) -> None:
    directory = shelf.put(MODELS, chat_template=b"{{ messages }}")
    template = found(shelf).chat_template
    assert template == directory / "tokenizer" / "chat_template.jinja"
    template.unlink()
    assert "is gone" in reason(shelf)


def test_publishing_again_adds_to_what_is_there(shelf: Shelf) -> None:
    shelf.put(MODELS, present=("m-Q4_K_M.gguf",), revisions={"v1": 1.0})
    shelf.put(MODELS, present=("m-Q8_0.gguf",), revisions={"main": 2.0})
    assert found(shelf, wanted=Wanted(("Q4_K_M",))).label == "Q4_K_M"
    assert found(shelf, Reference("org/repo", "v1")).label == "Q8_0"


def test_an_interrupted_publication_leaves_the_earlier_one(shelf: Shelf, monkeypatch) -> None:
    directory = shelf.put(MODELS)

    class Killed(BaseException):
        pass

    def interrupted(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(Killed):
            shelf.put(MODELS, revisions={"v2": 3.0})
    assert found(shelf).label
    assert [each.name for each in directory.glob(f"{MANIFEST_NAME}*")] == [MANIFEST_NAME]


def test_use_is_noted_where_it_can_be(shelf: Shelf, tmp_path: Path) -> None:
    directory = shelf.put(MODELS)
    os.utime(directory / MANIFEST_NAME, (5, 5))
    assert [each.last_used for each in shelf.store.revisions()] == [5]
    assert shelf.store.stamp(directory)
    assert [each.last_used > 5 for each in shelf.store.revisions()] == [True]
    assert not shelf.store.stamp(tmp_path / "nowhere")
