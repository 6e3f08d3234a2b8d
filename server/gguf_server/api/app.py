"""Puts the HTTP application together from what it is given."""

from collections.abc import Callable, Collection

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from gguf_server import __version__
from gguf_server.api.auth import RequireApiKey
from gguf_server.api.chat import chat_router
from gguf_server.api.completions import completions_router
from gguf_server.api.draining import CloseWhenDraining
from gguf_server.api.embeddings import embeddings_router
from gguf_server.api.errors import RESPONSES, ErrorAnswers
from gguf_server.api.health import probe_routes
from gguf_server.api.limits import LimitBody
from gguf_server.api.models import ServedModel, models_router
from gguf_server.api.request_id import HEADER, WithRequestId
from gguf_server.api.tokens import tokens_router
from gguf_server.api.traffic import CounterOf, CountResponses
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.supervisor.client import EngineClient


def create_app(  # noqa: PLR0913 -- the one place where everything meets, all by name
    *,
    engine: EngineClient,
    renderer: TemplateRenderer,
    model_name: str,
    model_created: int,
    api_keys: Collection[str],
    cors_origins: Collection[str],
    max_body_bytes: int,
    patience_seconds: float,
    metrics_text: Callable[[], bytes],
    count_error: Callable[[str], None],
    response_counter: CounterOf,
) -> ASGIApp:
    """The ASGI application. Without ``api_keys`` it is open, without ``cors_origins`` no CORS."""
    errors = ErrorAnswers(count_error)
    served = ServedModel(model_name, model_created)
    api = _new_api()
    errors.install(api)
    api.router.routes.extend(probe_routes(engine, metrics_text))
    api.include_router(chat_router(engine, renderer, errors, served))
    api.include_router(completions_router(engine, errors, served))
    api.include_router(embeddings_router(engine, served))
    api.include_router(models_router(engine, served))
    api.include_router(tokens_router(engine, served))

    app: ASGIApp = LimitBody(api, max_body_bytes, patience_seconds, errors)
    if api_keys:
        app = RequireApiKey(app, api_keys, errors)
    if cors_origins:  # outside of the keys: a browser's preflight has none
        app = CORSMiddleware(
            app,
            allow_origins=cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=(HEADER, "retry-after"),
        )
    app = CloseWhenDraining(WithRequestId(app), lambda: engine.status.draining)
    return CountResponses(app, _paths(api), response_counter)


def _paths(api: FastAPI) -> list[str]:
    """Those that the document describes, and the probes."""
    plain = [route.path for route in api.routes if isinstance(route, Route)]
    return [*api.openapi()["paths"], *plain]


def _new_api() -> FastAPI:
    return FastAPI(
        title="gguf-server",
        version=__version__,
        docs_url=None,  # they would load scripts from elsewhere; /openapi.json is enough
        redoc_url=None,
        redirect_slashes=False,
        responses=RESPONSES,
    )
