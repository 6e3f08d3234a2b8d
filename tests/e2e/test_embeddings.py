"""Embeddings from a real engine process, asked through the client that HTTP uses."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gguf_server.errors import ContextLengthExceeded, InvalidRequest
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.process import EngineProcess, Patience
from gguf_server.wire.messages import EngineConfig, ModelFacts, SamplingParams
from tests.e2e.conftest import HANG_SECONDS
from tests.server.engine.llama import tiny_models
from tests.server.supervisor.preparations import prepared

TEXTS = ["the cat sat.", "a cat", "the", "the the cat sat on the mat", "zebra.", "q"] * 3


@asynccontextmanager
async def serving(path: Path, **options: Any) -> AsyncIterator[EngineClient]:
    """A client of a supervised engine that is ready; a crash ends the test."""
    process = EngineProcess(
        prepared(
            EngineConfig(model_path=str(path), slots=2, threads=2, threads_batch=2, **options)
        ),
        Patience(step_seconds=60, load_seconds=60, max_crashes=1, crash_window_seconds=600),
        environment=os.environ,
    )
    client = EngineClient(process, Metrics(), max_waiting=64)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.run())
        await client.ready.wait()
        yield client
        running.cancel()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            await story()

    asyncio.run(limited())


async def embed(client: EngineClient, text: str, dimensions: int | None = None) -> np.ndarray:
    answer = await client.embed(text, dimensions)
    return np.frombuffer(answer.vector, "<f4")


async def say(client: EngineClient) -> str:
    async with client.generate(
        prompt="The sea is", max_tokens=24, stop=(), sampling=SamplingParams(temperature=0.0)
    ) as generation:
        return "".join([delta.text async for delta in generation])


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    path = tmp_path / "bert.gguf"
    tiny_models.WRITERS["bert"](path)
    return path


def facts_of(client: EngineClient) -> ModelFacts:
    return client.require_engine()


def test_a_bert_serves_embeddings_and_nothing_else(bert: Path) -> None:
    async def story() -> None:
        async with serving(bert) as client:
            facts = facts_of(client)
            assert (facts.generates, facts.embedding_size) == (False, tiny_models.EMBEDDING)
            assert facts.context_tokens == tiny_models.BERT_CONTEXT
            alone = [await embed(client, text) for text in TEXTS]
            together = await asyncio.gather(*(embed(client, text) for text in TEXTS))
            for one, other in zip(alone, together, strict=True):
                assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
                assert np.abs(one - other).max() < 2e-4
            assert len(await embed(client, "the cat", 7)) == 7
            with pytest.raises(InvalidRequest, match="embeddings only"):
                await say(client)
            with pytest.raises(InvalidRequest, match="vectors have 64"):
                await client.embed("x", 65)
            with pytest.raises(ContextLengthExceeded, match=r"62 tokens.* at most 48"):
                await client.embed("q " * 60, None)

    run(story)


def test_inputs_whose_callers_left_do_not_keep_others_waiting(bert: Path) -> None:
    async def story() -> None:
        async with serving(bert) as client:
            leaving = [asyncio.create_task(client.embed("q " * 40, None)) for _ in range(60)]
            await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving)
            assert len(await embed(client, "the cat")) == tiny_models.EMBEDDING
            assert client.num_open == 0

    run(story)


def test_a_chat_model_embeds_while_it_generates_and_the_text_stays_the_same(
    model_path: Path,
) -> None:
    async def story() -> None:
        async with serving(model_path, context_tokens=256, embeddings=True) as client:
            facts = facts_of(client)
            assert (facts.generates, facts.embedding_size) == (True, 576)
            text = await say(client)
            alone = [await embed(client, each) for each in TEXTS[:6]]
            beside, *together = await asyncio.gather(
                say(client), *(embed(client, each) for each in TEXTS)
            )
            assert beside == text
            for one, other in zip(alone * 3, together, strict=True):
                assert np.abs(one - other).max() < 1e-2

    run(story)


def test_a_chat_model_without_embeddings_says_how_to_get_them(model_path: Path) -> None:
    async def story() -> None:
        async with serving(model_path, context_tokens=256) as client:
            assert facts_of(client).embedding_size == 0
            with pytest.raises(InvalidRequest, match="--embeddings on"):
                await client.embed("x", None)

    run(story)
