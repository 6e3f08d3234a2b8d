"""The HTTP server: the application, and uvicorn told how to serve it."""

import contextlib
import resource
import time
from collections.abc import Collection, Iterator

import uvicorn

from gguf_server.api.app import create_app
from gguf_server.api.connections import Connections
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.settings.serve import Settings
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.metrics import Metrics

# Time for the last error events to be written once open requests have been ended.
_FLUSH_SECONDS = 2
# Longer than others keep an idle connection (AWS's load balancers 60 s, Google's 600): one that we
# close while it is used again is an error to its client.
_IDLE_SECONDS = 620
# Files, pipes and sockets that are no client's.
_OWN_DESCRIPTORS = 64


class HttpServer(uvicorn.Server):
    """uvicorn would close its socket at SIGTERM at once, before a drain: signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def new_server(
    settings: Settings,
    engine: EngineClient,
    renderer: TemplateRenderer,
    metrics: Metrics,
    api_keys: Collection[str],
) -> HttpServer:
    app = create_app(
        engine=engine,
        renderer=renderer,
        model_name=settings.model_name,
        model_created=int(time.time()),
        api_keys=api_keys,
        cors_origins=settings.cors_origins,
        max_body_bytes=settings.max_body_bytes,
        patience_seconds=settings.client_timeout_seconds,
        metrics_text=metrics.render,
        count_error=metrics.error,
        response_counter=metrics.response_counter,
    )
    config = uvicorn.Config(
        app,
        http=Connections(  # type: ignore[arg-type]  # called like a class
            patience_seconds=settings.client_timeout_seconds,
            max_connections=_max_connections(settings.max_connections),
        ),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_FLUSH_SECONDS,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    return HttpServer(config)


def _max_connections(wanted: int) -> int:
    """As many as wanted, if the system lets us have so many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + _OWN_DESCRIPTORS:
        soft = wanted + _OWN_DESCRIPTORS
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft - _OWN_DESCRIPTORS)
