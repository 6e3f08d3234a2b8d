"""What ``ls`` and ``clean`` print."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from gguf_server.commands.clean import clean
from gguf_server.commands.ls import ls
from gguf_server.commands.times import ago
from gguf_server.errors import StorageUnusable
from gguf_server.models.store.layout import MANIFEST_NAME, PARTIALS_NAME, USED_NAME
from gguf_server.settings.models import CleanSettings, LsSettings
from gguf_server.tables import table
from tests.mounts import read_only
from tests.server.models.store.shelf import Shelf

A, B = "a" * 40, "b" * 40
LONG_AGO = 40 * 86_400
CONTENTS = {"m-Q8_0.gguf": b"GGUF eight" * 1000, "m-Q4_K_M.gguf": b"GGUF four" * 1000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two models used 40 days ago, half of another, and one from elsewhere."""
    root = tmp_path / "models"
    directory = Shelf(root).put(CONTENTS, commit=A)
    (directory / USED_NAME).touch()
    then = time.time() - LONG_AGO
    os.utime(directory / USED_NAME, (then, then))
    half = root / "org" / "late" / PARTIALS_NAME / "x"
    half.parent.mkdir(parents=True)
    half.write_bytes(bytes(4096))
    (root / "flat.gguf").write_bytes(bytes(5_000_000))
    return root


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_ls_shows_models_what_arrives_and_what_is_not_ours(root: Path, capsys) -> None:
    ls(LsSettings(models_dir=str(root)))
    assert said(capsys) == [
        "MODEL            REVISION         SIZE   VERIFIED  LAST USED",
        "org/repo:Q8_0    aaaaaaaa (main)  10 kB  yes       40 days ago",
        "org/repo:Q4_K_M  aaaaaaaa (main)  9 kB   yes       40 days ago",
        "org/late: 4 kB have arrived of a fetch; run it again and it goes on there",
        f"{root}/flat.gguf (5.0 MB) is not from a hub",
    ]


def test_ls_says_why_a_model_cannot_be_served(root: Path, capsys) -> None:
    broken = root / "org" / "repo" / A / "m-Q8_0.gguf"
    broken.write_bytes(b"short")
    ls(LsSettings(models_dir=str(root)))
    assert f"no: {broken} is broken" in said(capsys)[1]
    ls(LsSettings(models_dir=str(root), json=True))
    models = json.loads(capsys.readouterr().out)["models"]
    assert [(each["name"], each["verified"]) for each in models] == [
        ("org/repo:Q8_0", False),
        ("org/repo:Q4_K_M", True),
    ]


@pytest.mark.parametrize("exists", [True, False])
def test_ls_of_an_empty_directory_says_how_to_get_a_model(
    tmp_path: Path, exists: bool, capsys
) -> None:
    directory = tmp_path if exists else tmp_path / "nowhere"
    ls(LsSettings(models_dir=str(directory)))
    assert said(capsys) == [
        f"There is no model in {directory}. Get one: gguf-server fetch org/repo"
    ]


def test_clean_says_what_would_go_and_why_and_touches_nothing(root: Path, capsys) -> None:
    before = sorted(root.rglob("*"))
    flat = root / "flat.gguf"
    width = len(str(flat))
    clean(CleanSettings(models_dir=str(root), keep_quant=("Q8_0",)))
    assert said(capsys) == [
        f"       {'WHAT':{width}}  SIZE    WHY",
        f"goes   {'org/repo@aaaaaaaa:Q4_K_M':{width}}  9 kB    is not Q8_0",
        f"stays  {'org/repo@aaaaaaaa:Q8_0':{width}}  10 kB   no rule says it should go",
        f"stays  {'rest of org/late':{width}}  4 kB    was written to within a day",
        f"stays  {flat}  5.0 MB  is not from a hub",
        "12 kB would be freed. Do it with --yes.",
    ]
    assert sorted(root.rglob("*")) == before


def test_clean_with_yes_does_what_it_said(root: Path, capsys) -> None:
    clean(CleanSettings(models_dir=str(root), keep_quant=("Q8_0",), yes=True))
    lines = said(capsys)
    assert lines[1].startswith("gone   org/repo@aaaaaaaa:Q4_K_M ")
    assert lines[-1] == "12 kB were freed."
    assert sorted(each.name for each in root.rglob("*.gguf")) == ["flat.gguf", "m-Q8_0.gguf"]


def test_clean_for_scripts(root: Path, capsys) -> None:
    clean(CleanSettings(models_dir=str(root), older_than=30 * 86_400.0, json=True))
    found = json.loads(capsys.readouterr().out)
    assert (found["done"], found["freed_bytes"]) == (False, 24_576)
    assert [each["goes"] for each in found["items"]] == [True, True, False, False]
    assert found["items"][0] == {
        "goes": True,
        "name": "org/repo@aaaaaaaa:Q8_0",
        "size_bytes": 10_000,
        "why": "was last used 40 days ago",
    }


def test_clean_of_a_read_only_directory_is_one_error(root: Path, capsys) -> None:
    with read_only(root):
        clean(CleanSettings(models_dir=str(root), older_than=0))
        assert "would be freed" in said(capsys)[-1]
        with pytest.raises(StorageUnusable, match="cannot be written: Read-only file system"):
            clean(CleanSettings(models_dir=str(root), older_than=0, yes=True))


def test_what_ls_shows_as_somebody_elses_stays_with_clean(tmp_path: Path, capsys) -> None:
    (tmp_path / "flat.gguf").write_bytes(bytes(1000))
    damaged = Shelf(tmp_path).put(CONTENTS) / MANIFEST_NAME
    damaged.write_text("{")
    ls(LsSettings(models_dir=str(tmp_path), json=True))
    shown = json.loads(capsys.readouterr().out)
    clean(CleanSettings(models_dir=str(tmp_path), older_than=0, yes=True, json=True))
    items = json.loads(capsys.readouterr().out)["items"]
    assert [(each["goes"], each["name"]) for each in items] == [
        *((False, path) for path in shown["unreadable"]),
        *((False, each["path"]) for each in shown["foreign"]),
    ]
    assert len(items) == 2
    assert items[0]["size_bytes"] > sum(map(len, CONTENTS.values()))  # what is kept there
    assert damaged.exists()


def test_clean_of_nothing_says_so(tmp_path: Path, capsys) -> None:
    clean(CleanSettings(models_dir=str(tmp_path), yes=True))
    assert said(capsys) == [f"There is nothing in {tmp_path}."]


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert table(("A", "LONG"), [("word", "x"), ("", "y")]) == ["A     LONG", "word  x", "      y"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86_400 * 3.9, "3 days ago"),
        (sys.maxsize, f"{sys.maxsize // 86_400} days ago"),
    ],
)
def test_times_are_told_in_their_largest_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text
