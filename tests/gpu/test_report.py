import copy
from typing import Any

from tests.gpu.report import MIB, page

WATCH = {
    "probes": {"/livez": {"answers": 40, "p99_seconds": 0.002, "max_seconds": 0.004}},
    "violations": [],
}
START = {"ready_seconds": 12.3, "load_seconds": {"weights": 9.0}, "taken_bytes": 1, "watch": WATCH}
SUMMARY = {
    "output_tokens_per_second": 101.0,
    "ttft_p50_seconds": 0.1,
    "itl_p50_seconds": 0.009,
    "longest_pause_seconds": 0.02,
}
STEPS = {"phase_ms": {"schedule": 0.5, "decode": 7.0, "sample": 2.5}}
RUN = {
    "streams": 1,
    "sampling": "greedy",
    "summary": SUMMARY,
    "decode_tokens_per_second": 95.0,
    "steps": STEPS,
}
NAME = "moe-8x3b-18.4b"
USE = {"name": "CUDA0", "is_host": False, "weights_bytes": 100 * MIB}
RECORD: dict[str, Any] = {
    "date": "2026-01-02",
    "card": {
        "device": "gpu",
        "name": "NVIDIA H200",
        "driver": "580.159.03",
        "cuda": "13.0",
        "memory_bytes": 143_771 * MIB,
    },
    "about": {"commit": "abc123"},
    "cells": {
        f"models/{NAME}": {},
        f"plan/{NAME}": {
            "devices": [
                {
                    "parts": [
                        {"name": "weights", "num_bytes": 100 * MIB},
                        {"name": "CUDA context", "num_bytes": 600 * MIB},
                        {"name": "headroom", "num_bytes": 512 * MIB},
                    ]
                }
            ],
            "startup": {"expected_seconds": 30, "stages": [{"name": "load", "seconds": 20.0}]},
        },
        f"parts/{NAME}": {
            "uses": [
                USE | {"cache_bytes": 30 * MIB, "compute_bytes": 20 * MIB},
                USE | {"is_host": True, "cache_bytes": 0, "compute_bytes": 7 * MIB},
            ],
            "in_use": {"before": 5 * MIB, "driver": 400 * MIB, "warm-up": 655 * MIB},
        },
        f"start/{NAME}": {"cold": START, "warm": START | {"ready_seconds": 6.1}},
        f"speed/{NAME}": {
            "before_bytes": 5 * MIB,
            "ready_bytes": 660 * MIB,
            "peak_bytes": 700 * MIB,
            "runs": [RUN],
            "watch": WATCH,
        },
        f"limit/{NAME}": {"tokens_per_second": {"1": 100.0}},
    },
}


def rows(text: str, beginning: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(f"| {beginning}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_page_begins_with_the_card_its_driver_and_the_commit():
    text = page(RECORD)
    assert text.startswith("# NVIDIA H200, 2026-01-02\n")
    for fact in ("driver: 580.159.03", "memory: 143771 MiB", "commit: abc123"):
        assert f"- {fact}" in text
    assert "rehearsal" not in text


def test_a_rehearsal_says_that_it_is_one():
    record = copy.deepcopy(RECORD)
    record["card"]["device"] = "cpu"
    assert "no figure here is a GPU's" in page(record)


def test_each_part_of_the_memory_is_beside_its_plan():
    found = {row[1]: row[2:] for row in rows(page(RECORD), NAME) if len(row) == 5}
    assert found["weights"] == ["100.0", "100.0", "+0.0"]
    # 655 - 5 in use, of which llama.cpp counts 150; what is on the host is not the card's.
    assert found["CUDA context"] == ["600.0", "500.0", "-100.0"]
    assert found["headroom"] == ["512.0", "40.0", "-472.0"]
    assert found["**all, at the peak**"] == ["1212.0", "695.0", "-517.0"]


def test_the_old_system_s_figures_stand_beside_ours():
    text = page(RECORD)
    assert rows(text, "ready, seconds") == [
        ["ready, seconds", "25 (vLLM 90)", "12.3 cold, 6.1 warm"]
    ]
    assert rows(text, "tokens/s, one stream")[0][2] == "101.0"
    assert rows(text, "GPU memory")[0][2] == "0.7"


def test_the_share_of_the_limit_is_that_of_decoding_and_samplers_stand_apart():
    [row] = [row for row in rows(page(RECORD), NAME) if "greedy" in row]
    assert row[3:7] == ["101.0", "95.0", "100.0", "0.95"]
    assert row[-4:] == ["2.50", "7.00", "0.50", "25%"]


def test_misbehaviour_of_a_probe_is_told():
    record = copy.deepcopy(RECORD)
    cell = record["cells"][f"speed/{NAME}"]
    cell["watch"] = WATCH | {"violations": ["/livez took 3.0 s"]}
    assert [row[-1] for row in rows(page(record), "start/")] == ["none", "none"]
    assert rows(page(record), "speed/")[0] == [f"speed/{NAME}", "40", "2", "4", "/livez took 3.0 s"]


def test_what_failed_is_told_and_what_is_missing_is_not_there():
    record = copy.deepcopy(RECORD)
    record["cells"] = {f"speed/{NAME}": {"failed": "gguf-server ended with code 4\nmore"}}
    text = page(record)
    assert rows(text, "speed/") == [[f"speed/{NAME}", "gguf-server ended with code 4"]]
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Failed"]
