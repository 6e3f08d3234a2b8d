"""Every test here runs on asyncio; most talk to an application in front of a fake engine."""

from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest

from gguf_server.api.app import create_app
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.supervisor.client import EngineClient
from tests.server.api.fakes import MODEL_NAME, FakeEngine, Server, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def accepting(engine: FakeEngine) -> FakeEngine:
    """An engine that accepts everything and then says nothing."""
    engine.pieces = None
    generate = engine.generate

    def accept_at_once(**request):
        generation = generate(**request)
        generation.accept(1)
        return generation

    engine.generate = accept_at_once  # type: ignore[method-assign]
    return engine


@pytest.fixture
async def server(anyio_backend: str, engine: FakeEngine) -> AsyncIterator[Server]:
    """Open, as it is without any option."""
    async with serving(engine) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def broken_app():
    """An application whose /metrics raises what nobody expects."""

    def metrics_text() -> bytes:
        raise ZeroDivisionError

    return create_app(
        engine=cast("EngineClient", FakeEngine()),
        renderer=TemplateRenderer(),
        model_name=MODEL_NAME,
        model_created=0,
        api_keys=(),
        cors_origins=(),
        max_body_bytes=1000,
        patience_seconds=30,
        metrics_text=metrics_text,
        count_error=lambda _: None,
        response_counter=lambda path, status: lambda: None,
    )
