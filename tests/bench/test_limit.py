import json
from pathlib import Path

import pytest

from gguf_server.bench.client import Failure, Outcome
from gguf_server.bench.load import Run
from tests.bench.limit import Pair, alone, record, steady_rate, summary, table
from tests.bench.running import StartError
from tests.bench.servers import Deployment

SPEEDS = '{"pl": 8, "speed_pp": 9.0, "speed_tg": 143.25}'


def stream(*text_at: float, num_tokens: int = 0, failed: bool = False) -> Outcome:
    return Outcome(
        submitted_at=0.0,
        finished_at=text_at[-1],
        text_at=text_at,
        num_output_tokens=num_tokens or len(text_at),
        failure=Failure("failed", "oops") if failed else None,
    )


def run_of(*outcomes: Outcome) -> Run:
    return Run(outcomes, wall_seconds=9.0, client_cpu_seconds=0.0)


def program(folder: Path, *lines: str) -> Path:
    path = folder / "llama-batched-bench"
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return path


def test_only_the_time_in_which_all_streams_answer_counts() -> None:
    early, late = stream(1.0, 2.0, 3.0, 4.0), stream(2.0, 3.0, 4.0, 5.0)
    assert steady_rate(run_of(early, late)) == pytest.approx(2.0)  # from 2 to 4: 2 texts of each


def test_a_text_of_two_tokens_counts_twice() -> None:
    assert steady_rate(run_of(stream(1.0, 2.0, 3.0, num_tokens=6))) == pytest.approx(2.0)


def test_without_a_time_in_which_all_answer_there_is_no_rate() -> None:
    assert steady_rate(run_of(stream(1.0, 2.0), stream(2.0, 3.0))) is None
    assert steady_rate(run_of(stream(1.0, 2.0, failed=True))) is None


def test_the_share_is_that_of_neighbours_not_of_medians() -> None:
    pairs = [Pair(8, 100.0, 90.0), Pair(8, 50.0, 50.0), Pair(8, 200.0, 190.0)]
    [share] = summary(pairs)
    assert (share.num_streams, share.alone, share.ours) == (8, 100.0, 90.0)
    assert share.share == pytest.approx(0.95)
    assert table(pairs).splitlines()[-1].split()[1::2] == ["8", "100.0", "90.0", "0.95"]


def test_a_run_of_ours_that_failed_shows_as_none() -> None:
    pairs = [Pair(8, 100.0, None)]
    assert table(pairs).splitlines()[-1].split()[1::2] == ["8", "100.0", "-", "-"]
    assert json.loads(json.dumps(record(pairs)))["medians"][0]["share"] is None


def test_llama_cpp_alone_is_asked_for_the_same_as_our_server(tmp_path: Path) -> None:
    bench = program(tmp_path, 'echo "$@" >"$0.asked"', f"echo '{SPEEDS}'")
    assert alone(bench, Deployment(Path("m.gguf"), num_slots=8, num_threads=3)) == 143.25
    asked = (tmp_path / "llama-batched-bench.asked").read_text()
    for words in ("-npl 8", "--ctx-size 16384", "--threads 3", "--flash-attn on", "-npp 94"):
        assert words in asked


def test_where_llama_cpp_alone_fails_its_last_words_are_told(tmp_path: Path) -> None:
    bench = program(tmp_path, "echo unable to load model >&2", "exit 1")
    with pytest.raises(StartError, match="ended with 1:\nunable to load model"):
        alone(bench, Deployment(Path("m.gguf"), num_slots=8))
