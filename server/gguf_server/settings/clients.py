"""Options of the verbs that are clients of a server: chat, bench."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from gguf_server.options import option, real, switch, texts, whole
from gguf_server.settings.declared import Declared


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(Declared):
    """What they have in common; of the environment they read ``OPENAI_API_KEY`` only."""

    has_variables: ClassVar[bool] = False

    url: str = option(
        "http://127.0.0.1:8000", str, "the server, with or without /v1", "URL", is_positional=True
    )
    model: str = option("", str, "which model; default: the first that it lists", "NAME")
    api_key: str = option("", str.strip, "bearer token; default: OPENAI_API_KEY", "KEY")
    json: bool = switch("print JSON")

    @classmethod
    def read(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Self:
        """From command-line flags, as text; raises ``SettingsError``."""
        settings = super(ClientSettings, cls).read(flags, environ)
        key = settings.api_key or environ.get("OPENAI_API_KEY", "").strip()
        return replace(settings, api_key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings(ClientSettings):
    """All options of ``gguf-server chat``."""

    system: str = option("", str, "the system message")
    temperature: float | None = option(None, real(0), "default: the server's", "T")
    max_tokens: int | None = option(None, whole(1), "longest answer; default: the server's", "N")
    timeout_seconds: float = option(
        600.0, real(0.01), "give up when nothing comes for so long", "S"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings(ClientSettings):
    """All options of ``gguf-server bench``."""

    workload: tuple[str, ...] = option((), texts, "only these workloads", "NAMES")
    concurrency: int = option(0, whole(1), "requests open at once; default: the workload's", "N")
    requests: int = option(0, whole(1), "requests of each; default: the workload's", "N")
    timeout_seconds: float = option(600.0, real(0.01), "give up on a request after", "S")
    seed: str = option("", str, "of the prompts; default: another each time, so none is cached")
