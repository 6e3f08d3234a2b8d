"""Embeddings in bulk, as one more workload: what comes out of a text is a vector, not tokens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

from gguf_server.bench.client import Failure, Outcome, Target
from gguf_server.bench.http import BrokenAnswer, request
from gguf_server.bench.load import Run, load
from gguf_server.bench.workloads import Shape, Workload, text
from gguf_server.endpoint import OK, Refusal

PATH = "/v1/embeddings"
NUM_WORDS, TEXTS_A_REQUEST = 64, 16
EMBEDDINGS = Workload(
    name="embeddings",
    sizes=f"{TEXTS_A_REQUEST} texts of {NUM_WORDS} words, mean pooling",
    concurrency=4,
    shapes=(Shape(NUM_WORDS * TEXTS_A_REQUEST, TEXTS_A_REQUEST),) * 8,
    headline="output_tokens_per_second",
    num_slots=8,
)


async def drive(target: Target, seed: str = "") -> Run:
    """An outcome's texts are whole answers, its output tokens are vectors."""
    users = [_embeds(target, texts) for texts in _lists(seed)]
    return await load(users, EMBEDDINGS.concurrency)


def _lists(seed: str) -> Iterator[list[str]]:
    for index in range(len(EMBEDDINGS.shapes)):
        yield [
            text(f"{seed}/{index}/{place}", NUM_WORDS, place) for place in range(TEXTS_A_REQUEST)
        ]


async def _embeds(target: Target, texts: list[str]) -> AsyncIterator[Outcome]:
    yield await _embed(target, texts)


async def _embed(target: Target, texts: list[str]) -> Outcome:
    submitted_at = time.perf_counter()
    body = json.dumps({"model": target.model, "input": texts}).encode()
    try:
        async with (
            asyncio.timeout(target.timeout_seconds),
            request(target.endpoint, "POST", PATH, body) as response,
        ):
            status, answer = response.status, await response.body()
        finished_at = time.perf_counter()
        if status != OK:
            return _failed(submitted_at, f"HTTP {status}: {Refusal.read(status, answer).message}")
        found = json.loads(answer)
    except (OSError, ValueError, BrokenAnswer) as exc:  # of them a TimeoutError; not JSON
        return _failed(submitted_at, f"no answer: {type(exc).__name__} {exc}".strip())
    num_vectors = sum(any(each["embedding"]) for each in found["data"])
    return Outcome(
        submitted_at=submitted_at,
        finished_at=finished_at,
        text_at=(finished_at,),
        num_prompt_tokens=found.get("usage", {}).get("prompt_tokens", 0),
        num_output_tokens=num_vectors,
        num_missing_tokens=len(texts) - num_vectors,
    )


def _failed(submitted_at: float, message: str) -> Outcome:
    return Outcome(submitted_at, time.perf_counter(), (), failure=Failure("failed", message))
