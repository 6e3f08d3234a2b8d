"""The numbers of the pictures; drawing needs matplotlib, which is not in this environment."""

import subprocess
import sys
from typing import Any

import pytest

from tests.bench.figures import (
    caption,
    figures,
    first_text,
    longest_pause,
    servers,
    start,
    throughput,
)
from tests.bench.servers import ROOT


def median(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "num_requests": 4,
        "num_completed": 4,
        "num_short": 0,
        "output_tokens_per_second": 100.0,
        "ttft_p50_seconds": 0.5,
        "ttft_p95_seconds": 2.0,
        "longest_pause_seconds": 1.0,
    }
    return values | changes


def record(servers: dict[str, dict[str, Any]], name: str = "mixed") -> dict[str, Any]:
    found = {server: {"median": each, "runs": []} for server, each in servers.items()}
    return {"workloads": [{"name": name, "servers": found}]}


def of_rate(rate: float | None, **changes: Any) -> dict[str, Any]:
    return median(output_tokens_per_second=rate, **changes)


def test_output_is_a_ratio_to_the_best_peer_with_ours_first() -> None:
    found = throughput(
        record({"a": of_rate(50.0), "b": of_rate(200.0), "gguf-server": of_rate(100.0)})
    )
    [group] = found.groups
    assert [(row.server, row.value) for row in group.rows] == [
        ("gguf-server", 0.5),
        ("a", 0.25),
        ("b", 1.0),
    ]
    assert group.rows[0].label == "100 (0.50 times)"
    assert group.rows[1].label == "50"


def test_who_did_not_answer_everything_is_shown_but_is_nobodys_measure() -> None:
    peers = {
        "a": of_rate(50.0),
        "b": of_rate(400.0, num_completed=1),
        "c": of_rate(300.0, num_short=1),
    }
    [group] = throughput(record({"gguf-server": of_rate(100.0), **peers})).groups
    assert [row.value for row in group.rows] == [2.0, 1.0, 8.0, 6.0]
    assert group.rows[2].label == "400, only 1 of 4 answered"
    assert group.rows[3].label == "300, answers too short"


def test_without_a_peer_that_answered_everything_there_is_no_ratio() -> None:
    alone = record({"gguf-server": of_rate(100.0)})
    assert throughput(alone).groups == ()
    assert "throughput" not in [each.name for each in figures(alone)]
    assert throughput(record({"gguf-server": median(), "a": of_rate(0.0)})).groups == ()


def test_what_is_unknown_is_left_out() -> None:
    unknown = median(ttft_p50_seconds=None, longest_pause_seconds=None)
    both = record({"gguf-server": unknown, "new-server": median()})
    assert [row.server for row in first_text(both).groups[0].rows] == ["new-server"]
    assert [row.server for row in longest_pause(both).groups[0].rows] == ["new-server"]
    assert first_text(record({"gguf-server": unknown})).groups == ()


def test_the_first_text_is_a_span_from_p50_to_p95() -> None:
    [row] = first_text(record({"a": median()})).groups[0].rows
    assert (row.value, row.end, row.label) == (0.5, 2.0, "0.50 to 2.00")


def test_the_longest_pause_is_that_of_the_mixed_load_only() -> None:
    assert longest_pause(record({"a": median()}, name="single")).groups == ()
    assert longest_pause(record({"a": median()})).groups[0].rows[0].value == 1.0


def starts(*rows: tuple[str, str, float, float | None]) -> dict[str, Any]:
    keys = ("server", "cache", "ready_seconds", "behind_seconds")
    return {
        "workloads": [],
        "start": {"medians": [dict(zip(keys, row, strict=True)) for row in rows]},
    }


def test_the_start_is_marked_half_a_second_after_llama_servers() -> None:
    found = start(
        starts(
            ("gguf-server", "cold", 2.0, 0.4),
            ("gguf-server", "warm", 0.9, 0.5),
            ("llama-server split", "warm", 0.4, 0.0),
        )
    )
    assert [group.name for group in found.groups] == ["cold", "warm"]
    assert [row.value for row in found.groups[1].rows] == [0.9, 0.4]
    assert found.mark is not None
    assert found.mark[0] == pytest.approx(0.9)


def test_a_start_without_llama_server_has_no_mark_and_no_start_no_picture() -> None:
    assert start(starts(("gguf-server", "warm", 0.9, None))).mark is None
    assert figures({"workloads": []}) == []


def test_servers_are_named_once_ours_first_from_workloads_and_starts() -> None:
    both = record({"a": median(), "gguf-server": median()}) | {
        "start": starts(("b", "warm", 1.0, None), ("a", "warm", 1.0, None))["start"]
    }
    assert servers(both) == ["gguf-server", "a", "b"]


def test_the_caption_says_what_is_known_of_model_machine_and_day() -> None:
    machine = {"cpu": "a CPU", "num_cores": 2, "date": "2026-01-02T03:04:05+00:00"}
    settings = {"model": "m.gguf", "repeat": 3}
    whole = {"machine": machine, "settings": settings}
    assert caption(whole) == "m.gguf, a CPU, 2 cores, medians of 3, 2026-01-02"
    assert caption({}) == "one run"


def test_the_numbers_are_chosen_without_this_projects_packages() -> None:
    """The environment that draws has none of them."""
    code = "import sys, tests.bench.figures; print([m for m in sys.modules if 'gguf' in m])"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] += ['{ROOT}']; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
