"""Where scripts/setup has put the default model."""

from __future__ import annotations

import os
from pathlib import Path


def default_model() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    cache = Path(home) if home else Path.home() / ".cache"
    return cache / "gguf-server" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
