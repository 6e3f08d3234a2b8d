"""How near the server is to llama.cpp alone: the same library at the same number of streams, with
no server around it. `llama-batched-bench` counts no samplers, no text and no HTTP.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gguf_server.bench.client import Outcome
from gguf_server.bench.load import Run
from gguf_server.bench.report import number
from gguf_server.bench.workloads import Shape, Workload
from tests.bench import markdown
from tests.bench.running import StartError
from tests.bench.servers import Deployment

STREAMS = (1, 8, 16)
SHAPE = Shape(94, 128)
COLUMNS = ("streams", "llama.cpp alone", "gguf-server", "share")
_LIMIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Tokens a second while all streams answer, one run of each side; None where it failed."""

    num_streams: int
    alone: float
    ours: float | None


def workload(num_streams: int) -> Workload:
    return Workload(
        name=f"decode-{num_streams}",
        sizes=f"{SHAPE.num_prompt_tokens} in / {SHAPE.num_output_tokens} out",
        concurrency=num_streams,
        shapes=(SHAPE,) * num_streams,
        headline="output_tokens_per_second",
    )


def alone(program: Path, deployment: Deployment) -> float:
    """Raises ``StartError`` with its last lines."""
    command = [
        *(str(program), "--model", str(deployment.model), "--output-format", "jsonl"),
        *("-npp", str(SHAPE.num_prompt_tokens), "-ntg", str(SHAPE.num_output_tokens)),
        *("-npl", str(deployment.num_slots)),
        *("--ctx-size", str(deployment.num_context_tokens * deployment.num_slots)),
        *("--batch-size", "512", "--ubatch-size", "512"),  # our server's
        *("--threads", str(deployment.num_threads), "--flash-attn", "on"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS
    )
    found = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    if done.returncode or not found:
        tail = done.stderr.splitlines()[-5:]
        raise StartError("\n".join([f"llama-batched-bench ended with {done.returncode}:", *tail]))
    return float(json.loads(found[-1])["speed_tg"])


def steady_rate(run: Run) -> float | None:
    """Tokens a second of all streams together while all of them answer: no prompt is computed.

    None where there was no such time, or a request failed.
    """
    if any(outcome.failure or not outcome.text_at for outcome in run.outcomes):
        return None
    begin = max(outcome.text_at[0] for outcome in run.outcomes)
    end = min(outcome.text_at[-1] for outcome in run.outcomes)
    if end <= begin:
        return None
    return sum(_tokens_between(outcome, begin, end) for outcome in run.outcomes) / (end - begin)


def _tokens_between(outcome: Outcome, begin: float, end: float) -> float:
    """A text may hold several tokens, and a token no text."""
    texts = sum(begin < at <= end for at in outcome.text_at)
    return texts * outcome.num_output_tokens / len(outcome.text_at)


@dataclass(frozen=True, slots=True)
class Share:
    """Medians. The share is the median of the shares of neighbours in time: machines drift."""

    num_streams: int
    alone: float
    ours: float | None
    share: float | None


def table(pairs: Sequence[Pair]) -> str:
    rows = [
        (
            str(each.num_streams),
            number(each.alone, digits=1),
            number(each.ours, digits=1),
            number(each.share),
        )
        for each in summary(pairs)
    ]
    title = f"## Limit\n\nDecode beside `llama-batched-bench`, tokens/s, {workload(1).sizes}."
    return f"{title}\n\n{markdown.table(COLUMNS, rows)}"


def summary(pairs: Sequence[Pair]) -> list[Share]:
    counts = dict.fromkeys(pair.num_streams for pair in pairs)
    return [_share([pair for pair in pairs if pair.num_streams == count]) for count in counts]


def _share(pairs: Sequence[Pair]) -> Share:
    ours = [pair.ours for pair in pairs if pair.ours is not None]
    shares = [pair.ours / pair.alone for pair in pairs if pair.ours is not None]
    return Share(
        pairs[0].num_streams,
        median(pair.alone for pair in pairs),
        median(ours) if ours else None,
        median(shares) if shares else None,
    )


def record(pairs: Sequence[Pair]) -> dict[str, Any]:
    medians = [asdict(each) for each in summary(pairs)]
    return {"medians": medians, "runs": [asdict(pair) for pair in pairs]}
