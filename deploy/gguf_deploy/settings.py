"""Options of ``gguf-deploy``'s verbs."""

import os.path
from dataclasses import dataclass
from pathlib import Path

from gguf_server.options import option, switch
from gguf_server.settings.declared import Declared


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusSettings(Declared):
    """All options of ``gguf-deploy gpus``."""

    prices: str = option(
        "", str, "your own prices, US dollars an hour: a TOML or JSON file such as L4 = 0.8", "FILE"
    )
    json: bool = switch("print JSON")

    @property
    def prices_path(self) -> Path | None:
        return Path(os.path.expanduser(self.prices)) if self.prices else None  # noqa: PTH111


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesSettings(Declared):
    """All options of ``gguf-deploy nodes``."""

    context: str = option("", str, "context of the kubeconfig; default: its current one", "NAME")
    kubeconfig: str = option("", str, "default: KUBECONFIG or ~/.kube/config", "FILE")
    json: bool = switch("print JSON")
