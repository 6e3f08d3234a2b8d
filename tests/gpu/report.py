"""From a record to a page for people. Pure; what was not measured is not on it."""

from collections.abc import Iterator, Sequence

from tests.gpu.record import Result

MIB = 1 << 20
# What the system that this replaces needed for the 18.4B mixture, by its maintainers.
OLD = (
    ("ready, seconds", "25 (vLLM 90)"),
    ("GPU memory, GB", "28 (vLLM 45)"),
    ("tokens/s, one stream", "20 to 25"),
)
_MAIN = "moe-8x3b-18.4b"
Row = tuple[str, ...]


def page(record: Result) -> str:
    sections = (_head, _old, _failed, _memory, _start, _speed, _experts, _probes)
    return "\n\n".join(text for section in sections if (text := section(record))) + "\n"


def _head(record: Result) -> str:
    card, about = record["card"], record.get("about", {})
    lines = [f"# {card['name']}, {record['date']}", ""]
    if card["device"] == "cpu":
        lines += ["**A rehearsal on a CPU, with small models: no figure here is a GPU's.**", ""]
    facts = {
        "driver": card["driver"],
        "CUDA": card["cuda"],
        "memory": f"{card['memory_bytes'] / MIB:.0f} MiB" if card["memory_bytes"] else "",
        **about,
    }
    lines += [f"- {name}: {value}" for name, value in facts.items() if value]
    weights = "Weights are random, shapes and tokenizer are real: speed and memory are true"
    return "\n".join([*lines, "", f"{weights}, answers are not."])


def _old(record: Result) -> str:
    start, speed = _cell(record, "start", _MAIN), _cell(record, "speed", _MAIN)
    if not start or not speed:
        return ""
    single = [run for run in speed["runs"] if run["streams"] == 1]
    rates = " to ".join(
        f"{rate:.1f}"
        for rate in sorted(run["summary"]["output_tokens_per_second"] for run in single)
    )
    here = (
        f"{start['cold']['ready_seconds']:.1f} cold, {start['warm']['ready_seconds']:.1f} warm",
        f"{(speed['peak_bytes'] - speed['before_bytes']) / 1e9:.1f}",
        rates,
    )
    rows = [(name, old, each) for (name, old), each in zip(OLD, here, strict=True)]
    return _section(f"Beside the old system ({_MAIN})", ("", "old", "here"), rows)


def _failed(record: Result) -> str:
    rows = [
        (key, cell["failed"].splitlines()[0])
        for key, cell in record["cells"].items()
        if "failed" in cell
    ]
    return _section("Failed", ("cell", "why"), rows)


def _memory(record: Result) -> str:
    rows = [row for name in _models(record) for row in _memory_rows(record, name)]
    columns = ("model", "part", "planned", "measured", "difference")
    return _section("Memory against the plan, MiB", columns, rows)


def _memory_rows(record: Result, name: str) -> Iterator[Row]:
    planned, parts = _cell(record, "plan", name), _cell(record, "parts", name)
    speed = _cell(record, "speed", name)
    if not planned or not parts:
        return
    need = planned["devices"][0] if planned["devices"] else planned["host"]
    measured = measured_parts(parts, on_card=bool(planned["devices"]))
    if speed:
        measured["headroom"] = speed["peak_bytes"] - speed["ready_bytes"]
    for part in need["parts"]:
        key = "server" if part["name"] == "CUDA context" else part["name"]
        yield _compared(name, part["name"], part["num_bytes"], measured.get(key))
    if speed:
        total = sum(part["num_bytes"] for part in need["parts"])
        yield _compared(
            name, "**all, at the peak**", total, speed["peak_bytes"] - speed["before_bytes"]
        )


def measured_parts(parts: Result, *, on_card: bool) -> dict[str, int]:
    """Of the card or of the host; ``server`` is what llama.cpp does not count."""
    uses = [use for use in parts["uses"] if use["is_host"] != on_card]
    counted = {
        name: sum(use[key] for use in uses)
        for name, key in (
            ("weights", "weights_bytes"),
            ("KV cache", "cache_bytes"),
            ("compute", "compute_bytes"),
        )
    }
    in_use = parts["in_use"]
    return counted | {"server": in_use["warm-up"] - in_use["before"] - sum(counted.values())}


def _compared(model: str, part: str, planned: int, measured: int | None) -> Row:
    if measured is None:
        return (model, part, _mib(planned), "-", "-")
    return (model, part, _mib(planned), _mib(measured), f"{(measured - planned) / MIB:+.1f}")


def _start(record: Result) -> str:
    rows = []
    for name in _models(record):
        cell, planned = _cell(record, "start", name), _cell(record, "plan", name)
        if cell:
            rows += [(name, kind, *_start_cells(cell[kind])) for kind in ("cold", "warm")]
        if planned:
            expected = {each["name"]: each["seconds"] for each in planned["startup"]["stages"]}
            total = planned["startup"]["expected_seconds"]
            stages = " + ".join(f"{key} {value:.0f}" for key, value in expected.items())
            rows.append((name, "planned (nvme)", f"{total:.1f}", stages, "-"))
    return _section(
        "Start to ready, seconds",
        ("model", "file", "ready", "by stage", "memory at most, MiB"),
        rows,
    )


def _start_cells(one: Result) -> Row:
    stages = " + ".join(f"{key} {value:.1f}" for key, value in one["load_seconds"].items())
    return (f"{one['ready_seconds']:.1f}", stages, _mib(one["taken_bytes"]))


def _speed(record: Result) -> str:
    rows = []
    for name in _models(record):
        cell, limit = _cell(record, "speed", name), _cell(record, "limit", name)
        rates = limit["tokens_per_second"] if limit else {}
        rows += [_speed_row(name, run, rates) for run in (cell["runs"] if cell else ())]
    columns = (
        *("model", "streams", "sampling", "tok/s", "in decode", "llama.cpp alone", "share"),
        *("TTFT p50, s", "ITL p50, ms", "ITL max, ms", "sample, ms a step", "decode", "python"),
        *("samplers' share",),
    )
    return _section("Speed", columns, rows)


def _speed_row(name: str, run: Result, limits: dict[str, float]) -> Row:
    summary, rate = run["summary"], run["decode_tokens_per_second"]
    alone = limits.get(str(run["streams"]))
    share = rate / alone if rate and alone else None
    return (
        name,
        str(run["streams"]),
        run["sampling"],
        _number(summary["output_tokens_per_second"], 1),
        _number(rate, 1),
        _number(alone, 1),
        _number(share, 2),
        _number(summary["ttft_p50_seconds"], 3),
        _number(summary["itl_p50_seconds"], 1, scale=1e3),
        _number(summary["longest_pause_seconds"], 1, scale=1e3),
        *_step_cells(run["steps"]),
    )


def _step_cells(steps: Result | None) -> Row:
    if not steps:
        return ("-",) * 4
    phases = steps["phase_ms"]
    sample, decode = phases.get("sample", 0.0), phases.get("decode", 0.0)
    python, total = sum(phases.values()) - sample - decode, sum(phases.values())
    share = f"{sample / total:.0%}" if total else "-"
    return (*(f"{each:.2f}" for each in (sample, decode, python)), share)


def _experts(record: Result) -> str:
    rows = []
    for key, cell in record["cells"].items():
        if key.startswith("experts/") and "runs" in cell:
            name, _, count = key.removeprefix("experts/").rpartition("-")
            taken = cell["peak_bytes"] - cell["before_bytes"]
            sizes = tuple("-" if n is None else _mib(n) for n in (cell["counted_bytes"], taken))
            rates = [f"{run['summary']['output_tokens_per_second']:.1f}" for run in cell["runs"]]
            rows.append((name, count, *sizes, " / ".join(rates)))
    columns = ("model", "layers", "llama.cpp counts, MiB", "peak, MiB", "tok/s, by streams")
    return _section("Experts on the CPU", columns, rows)


def _probes(record: Result) -> str:
    watches = {
        f"{key} {kind}".strip(): watch
        for key, cell in record["cells"].items()
        for kind, watch in _watches(cell)
    }
    rows = [
        (
            name,
            str(sum(each["answers"] for each in watch["probes"].values())),
            _most(watch, "p99_seconds"),
            _most(watch, "max_seconds"),
            "; ".join(watch["violations"]) or "none",
        )
        for name, watch in watches.items()
    ]
    columns = ("while", "answers", "p99, ms", "slowest, ms", "misbehaviour")
    return _section("Probes", columns, rows)


def _watches(cell: Result) -> Iterator[tuple[str, Result]]:
    for kind in ("cold", "warm"):
        if kind in cell:
            yield kind, cell[kind]["watch"]
    if "watch" in cell:
        yield "", cell["watch"]


def _most(watch: Result, key: str) -> str:
    found = [each[key] for each in watch["probes"].values() if each[key] is not None]
    return f"{max(found) * 1e3:.0f}" if found else "-"


# --- tables ------------------------------------------------------------------------------------


def _section(title: str, columns: Row, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [columns, tuple("---" for _ in columns), *rows]
    table = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    return f"## {title}\n\n{table}"


def _cell(record: Result, stage: str, model: str) -> Result | None:
    cell: Result | None = record["cells"].get(f"{stage}/{model}")
    return cell if cell and "failed" not in cell else None


def _models(record: Result) -> list[str]:
    names = (key.partition("/")[2] for key in record["cells"] if key.startswith("models/"))
    return list(dict.fromkeys(names))


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / MIB:.1f}"


def _number(value: float | None, digits: int, *, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"
