"""The model of these tests: where it comes from, and what a release of it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.hub.server import Hub

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
REPOSITORY = "gguf-tests/smol"
# Two cores for everything: a pod gets along with little.
SMALL: dict[str, Any] = {"GGUF_SLOTS": "2", "GGUF_CONTEXT_TOKENS": "512", "GGUF_THREADS": "1"}


@contextmanager
def smol_hub(address: str) -> Iterator[Hub]:
    """On this machine's address that pods can reach."""
    from gguf_server.settings.serve import Settings  # noqa: PLC0415

    source = Settings().source
    assert isinstance(source, Path)
    assert source.name == FILE
    with Hub(addresses=(address, address)) as hub:
        hub.repository(REPOSITORY, {FILE: source})
        yield hub


def values(hub: Hub, **more: Any) -> dict[str, Any]:
    """The chart's defaults, the model, and where it comes from."""
    return {"model": {"name": REPOSITORY}, "fetch": {"endpoint": hub.endpoint}} | more
