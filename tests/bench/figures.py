"""Which numbers of a record a picture shows, and in which order. Nothing here draws.

Of the standard library only: what draws is an environment of its own, without this project's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

OURS = "gguf-server"
ALLOWED_BEHIND_SECONDS = 0.5  # of start to ready, behind llama-server

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One server's: a bar to ``value``, or a span from ``value`` to ``end``."""

    server: str
    value: float
    label: str
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """``mark``: a line across all groups, and what it says."""

    name: str
    title: str
    groups: tuple[Group, ...]
    scale: Literal["linear", "log"] = "linear"
    mark: tuple[float, str] | None = None


def figures(record: Record) -> list[Figure]:
    """Those that there is something to show in."""
    made = [throughput(record), first_text(record), longest_pause(record), start(record)]
    return [each for each in made if each.groups]


def servers(record: Record) -> list[str]:
    """Ours first, then as they come."""
    names = dict.fromkeys(
        [name for each in record["workloads"] for name in each["servers"]]
        + [each["server"] for each in _starts(record)]
    )
    return sorted(names, key=lambda name: not is_ours(name))


def is_ours(server: str) -> bool:
    return server.startswith(OURS)


def caption(record: Record) -> str:
    machine, settings = record.get("machine", {}), record.get("settings", {})
    parts = [
        settings.get("model"),
        machine.get("cpu"),
        f"{machine['num_cores']} cores" if "num_cores" in machine else None,
        f"medians of {settings['repeat']}" if settings.get("repeat", 1) > 1 else "one run",
        str(machine.get("date", ""))[:10],
    ]
    return ", ".join(part for part in parts if part)


def throughput(record: Record) -> Figure:
    return Figure(
        "throughput",
        "Output, as a ratio to the best peer; tokens or embeddings a second",
        _groups(record, _ratios),
        mark=(1.0, "the best peer"),
    )


def first_text(record: Record) -> Figure:
    return Figure(
        "first-text",
        "Time to the first text, seconds, p50 to p95",
        _groups(record, _first_texts),
        scale="log",
    )


def longest_pause(record: Record) -> Figure:
    mixed = [each for each in record["workloads"] if each["name"] == "mixed"]
    return Figure(
        "longest-pause",
        "Longest pause of a stream beside long prompts, seconds",
        _groups({"workloads": mixed}, _pauses),
    )


def start(record: Record) -> Figure:
    """The mark is where we want to be at the latest, with the file in the page cache."""
    found = _starts(record)
    groups = [
        Group(cache, rows)
        for cache in dict.fromkeys(each["cache"] for each in found)
        if (rows := _ordered(_ready(each) for each in found if each["cache"] == cache))
    ]
    baseline = [
        each["ready_seconds"] - each["behind_seconds"]
        for each in found
        if each["cache"] == "warm" and each.get("behind_seconds") is not None
    ]
    allowed = f"llama-server + {ALLOWED_BEHIND_SECONDS:g} s, warm"
    mark = (baseline[0] + ALLOWED_BEHIND_SECONDS, allowed) if baseline else None
    title = "Start to ready, seconds from exec; the model's file in the page cache (warm) or not"
    return Figure("start", title, tuple(groups), mark=mark)


def _starts(record: Record) -> list[dict[str, Any]]:
    medians: list[dict[str, Any]] = record.get("start", {}).get("medians", [])
    return [each for each in medians if each.get("ready_seconds") is not None]


def _ready(each: Mapping[str, Any]) -> Row:
    return Row(each["server"], each["ready_seconds"], f"{each['ready_seconds']:.2f}")


# --- rows of one workload ------------------------------------------------------------------------

Medians = Mapping[str, dict[str, Any]]


def _groups(record: Record, rows_of: Any) -> tuple[Group, ...]:
    made = []
    for workload in record["workloads"]:
        medians = {name: each["median"] for name, each in workload["servers"].items()}
        if rows := _ordered(rows_of(medians)):
            made.append(Group(workload["name"], rows))
    return tuple(made)


def _ordered(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: not is_ours(row.server)))


def _ratios(medians: Medians) -> Iterator[Row]:
    """Who did not answer everything is shown, and is nobody's measure."""
    key = "output_tokens_per_second"
    peers = [
        each[key] for name, each in medians.items() if not is_ours(name) and _is_complete(each)
    ]
    best = max(filter(None, peers), default=None)
    if best is None:
        return
    for name, each in medians.items():
        if each.get(key) is not None:
            ratio = each[key] / best
            times = f" ({ratio:.2f} times)" if is_ours(name) else ""
            yield Row(name, ratio, _label(each[key], each) + times)


def _first_texts(medians: Medians) -> Iterator[Row]:
    for name, each in medians.items():
        low, high = each.get("ttft_p50_seconds"), each.get("ttft_p95_seconds")
        if low and high:
            yield Row(name, low, f"{low:.2f} to {high:.2f}", end=high)


def _pauses(medians: Medians) -> Iterator[Row]:
    for name, each in medians.items():
        if (seconds := each.get("longest_pause_seconds")) is not None:
            yield Row(name, seconds, f"{seconds:.2f}")


def _is_complete(median: Mapping[str, Any]) -> bool:
    return median["num_completed"] == median["num_requests"] and not median.get("num_short")


def _label(value: float, median: Mapping[str, Any]) -> str:
    text = f"{value:.0f}"
    if median["num_completed"] < median["num_requests"]:
        return f"{text}, only {median['num_completed']} of {median['num_requests']} answered"
    return f"{text}, answers too short" if median.get("num_short") else text
