"""Drawing, in the environment that has matplotlib."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench.servers import ROOT
from tests.bench.test_plot import median, record, starts


def plot(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts/bench"), "plot", str(source), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    peers: dict[str, Any] = {f"peer <{number}>": median() for number in range(7)}
    whole = record({"gguf-server": median(), **peers, "late": median(num_completed=0)})
    whole |= {
        "start": starts(("gguf-server", "warm", 0.9, 0.5), ("peer", "warm", 0.4, 0.0))["start"]
    }
    path = tmp_path / "record.json"
    path.write_text(json.dumps(whole))
    return path


def test_a_record_becomes_pictures_that_are_the_same_bytes_each_time(source: Path) -> None:
    folders = [source.parent / name for name in ("first", "second")]
    for folder in folders:
        done = plot(source, folder)
        assert done.returncode == 0, done.stderr
    first, second = ({path.name: path.read_bytes() for path in each.iterdir()} for each in folders)
    assert set(first) == {"throughput.svg", "first-text.svg", "longest-pause.svg", "start.svg"}
    assert first == second


def test_a_picture_names_every_server_and_what_failed(source: Path) -> None:
    plot(source, source.parent)
    text = (source.parent / "throughput.svg").read_text()
    for words in ("gguf-server", "peer &lt;6&gt;", "100 (1.00 times)", "only 0 of 4 answered"):
        assert words in text


@pytest.mark.parametrize(
    ("text", "reason"), [("[]", "is no record of a benchmark"), ("{", "Expecting property name")]
)
def test_what_is_no_record_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    done = plot(path, tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
