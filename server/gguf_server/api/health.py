"""Probes, metrics and version. Every answer is a function of a snapshot; nothing here waits."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gguf_server import __version__
from gguf_server.api.answers import encode
from gguf_server.supervisor.client import EngineClient
from gguf_server.supervisor.status import State, Status

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OK = 200
UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a probe says."""

    status_code: int
    body: dict[str, object]


def startupz(status: Status) -> Verdict:
    """Has it ever been ready? The body tells how far a load is."""
    started = status.ever_ready and status.state is not State.FAILED
    return Verdict(OK if started else UNAVAILABLE, _body(status))


def readyz(status: Status) -> Verdict:
    """May requests be sent here?"""
    return Verdict(OK if status.is_ready else UNAVAILABLE, _body(status))


def livez(status: Status) -> Verdict:
    """Only a restart of the whole server would help where this fails."""
    if status.state is State.FAILED:
        return Verdict(UNAVAILABLE, _body(status))
    return Verdict(OK, {"status": "alive"})


def health(status: Status) -> Verdict:
    """llama-server's probe, with its bodies."""
    if status.is_ready:
        return Verdict(OK, {"status": "ok"})
    is_loading = status.state is State.LOADING and not status.draining
    message = "Loading model" if is_loading else describe(status)
    error = {"code": UNAVAILABLE, "message": message, "type": "unavailable_error"}
    return Verdict(UNAVAILABLE, {"error": error})


def describe(status: Status) -> str:
    """The state in one line, for people."""
    if status.state is State.FAILED:
        return f"the engine cannot be kept running: {status.reason}"
    if status.draining:
        return "the server is shutting down"
    match status.state:
        case State.READY:
            return "ready"
        case State.LOADING if not status.reason:
            return f"the model is loading: {_progress(status)}"
        case State.LOADING | State.REPLACING:
            cause = status.reason or "the engine was lost"
            return f"{cause}; another one is starting: {_progress(status)}"


def probe_routes(engine: EngineClient, metrics_text: Callable[[], bytes]) -> list[Route]:
    def probe(path: str, judge: Callable[[Status], Verdict]) -> Route:
        async def answer(_: Request) -> Response:
            verdict = judge(engine.status)
            return Response(
                encode(verdict.body), verdict.status_code, media_type="application/json"
            )

        return Route(path, answer)

    async def metrics(_: Request) -> Response:
        return Response(metrics_text(), headers={"content-type": METRICS_CONTENT_TYPE})

    async def version(_: Request) -> Response:
        return Response(encode({"version": __version__}), media_type="application/json")

    return [
        probe("/startupz", startupz),
        probe("/readyz", readyz),
        probe("/livez", livez),
        probe("/health", health),
        Route("/metrics", metrics),
        Route("/version", version),
    ]


def _body(status: Status) -> dict[str, object]:
    is_draining = status.draining and status.state is not State.FAILED
    body: dict[str, object] = {"status": "draining" if is_draining else str(status.state)}
    if status.state in (State.LOADING, State.REPLACING):
        body |= {
            "stage": status.stage,
            "percent": _percent(status),
            "elapsed_seconds": round(status.elapsed_seconds, 1),
            "remaining_seconds": _rounded(status.remaining_seconds),
        }
        if status.reason:  # of the engine before this one
            body["reason"] = status.reason
    facts = status.facts
    if status.state is State.READY and facts is not None and facts.generates:
        body["prefix_reuse"] = facts.prefix_reuse or "on"
    return body | {"restarts": status.restarts, "message": describe(status)}


def _progress(status: Status) -> str:
    detail = f" ({status.detail})" if status.detail else ""
    text = f"{status.stage} {_percent(status)} %{detail}, {status.elapsed_seconds:.0f} s so far"
    if status.remaining_seconds is not None:
        text += f", about {status.remaining_seconds:.0f} s to go"
    return text


def _percent(status: Status) -> int:
    return int(status.fraction * 100)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
